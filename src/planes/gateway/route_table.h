#pragma once
// RouteTable: which route a request belongs to. Immutable; shared by all workers.
//
// Priority, the same whatever the order of the snapshot's routes:
//   1. a route for exactly this host before one for any host
//   2. the more specific path, compared segment by segment from the left: literal before
//      `:param` before `*`, and a path that ends there before `*`
//   3. a route that names the method before one for any method
// `:param` matches one non-empty segment; `*` (last only) matches the rest, also none of it, so
// `/*` is everything. A trailing slash counts: /a and /a/ differ.
//
// An index of segments per host: a match visits each node at most once, and in tables that people
// write only the nodes along the path, so its cost does not grow with the number of routes.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "planes/gateway/snapshot.h"

namespace banyan::gateway {

struct Route {
  RouteSpec spec;
  std::size_t index = 0;  // position in RouteTable::routes()
};

class RouteTable {
 public:
  explicit RouteTable(const std::vector<RouteSpec>& specs);

  // `host` without port, any case; `path` normalised (wire/http/path.h). Null: no route.
  const Route* match(std::string_view method, std::string_view host, std::string_view path) const;
  const std::vector<Route>& routes() const { return routes_; }

  // Two routes that match exactly the same requests: an error of the snapshot.
  static Result<void> check_distinct(const std::vector<RouteSpec>& specs);

 private:
  using RouteIndex = std::uint32_t;

  // One position in the templates: what may come next, and whose template ends here.
  struct Node {
    std::map<std::string, std::unique_ptr<Node>, std::less<>> literals;
    std::unique_ptr<Node> param;
    std::vector<RouteIndex> ends;  // best first
    std::vector<RouteIndex> rest;  // `*` follows; best first
  };
  using Hosts = std::map<std::string, std::unique_ptr<Node>, std::less<>>;

  void add(const Route& route);
  static Node& step(Node& node, std::string_view segment);
  void insert(std::vector<RouteIndex>& at, RouteIndex route) const;
  const Route* best(const std::vector<RouteIndex>& at, std::string_view method) const;
  // `path` is what is left, from a slash on; empty at the end.
  const Route* find(const Node& node, std::string_view method, std::string_view path) const;
  const Node* of_host(std::string_view host) const;

  std::vector<Route> routes_;
  Node any_host_;
  Hosts hosts_;  // lower case
};

// "Docs.Example:8080" -> "Docs.Example"; "[::1]:80" -> "[::1]".
std::string_view host_without_port(std::string_view authority);

}  // namespace banyan::gateway
