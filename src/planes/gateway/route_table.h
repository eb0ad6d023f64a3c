#pragma once
// RouteTable: which route a request belongs to. Immutable; shared by all workers.
//
// Priority, the same whatever the order of the snapshot's routes:
//   1. the host: exactly this one, then *.wildcards (the longest first), then any host
//   2. the more specific path, compared segment by segment from the left: literal before
//      `:param` before `*`, and a path that ends there before `*`
//   3. a route that names the method before one for any method
//   4. more conditions (headers, query, source address) before fewer; then the snapshot's order
// `:param` matches one non-empty segment; `*` (last only) matches the rest, also none of it, so
// `/*` is everything. A trailing slash counts: /a and /a/ differ. A route whose method or
// conditions do not fit is passed over, and the next one in this order is tried.
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
#include "planes/gateway/route_conditions.h"
#include "planes/gateway/snapshot.h"

namespace banyan::gateway {

struct Route {
  RouteSpec spec;
  std::size_t index = 0;  // position in RouteTable::routes()
  RouteConditions conditions = {};
};

// Why a route was not taken, for people; empty: it is the one.
struct RouteVerdict {
  std::string route;
  std::string why_not;
};

class RouteTable {
 public:
  explicit RouteTable(const std::vector<RouteSpec>& specs);

  // Null: no route.
  const Route* match(const RequestFacts& facts) const;
  const Route* match(std::string_view method, std::string_view host, std::string_view path) const {
    return match({.method = method, .host = host, .path = path});
  }
  const std::vector<Route>& routes() const { return routes_; }
  // True when a route asks for headers, query or address: `match` needs all facts.
  bool has_conditions() const { return has_conditions_; }

  // Every route in the order of priority, up to the one that is taken.
  std::vector<RouteVerdict> explain(const RequestFacts& facts) const;

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
  struct Wildcard {
    std::string pattern;  // "*.example.org"
    std::unique_ptr<Node> root;
  };
  using Hosts = std::map<std::string, std::unique_ptr<Node>, std::less<>>;

  void add(const Route& route);
  Node& root_of(const RouteSpec& spec);
  static Node& step(Node& node, std::string_view segment);
  void insert(std::vector<RouteIndex>& at, RouteIndex route) const;
  const Route* best(const std::vector<RouteIndex>& at, const RequestFacts& facts) const;
  // `path` is what is left, from a slash on; empty at the end.
  const Route* find(const Node& node, const RequestFacts& facts, std::string_view path) const;
  const Node* of_host(std::string_view host) const;

  std::vector<Route> routes_;
  Node any_host_;
  Hosts hosts_;                      // lower case
  std::vector<Wildcard> wildcards_;  // longest first
  bool has_conditions_ = false;
};

// "Docs.Example:8080" -> "Docs.Example"; "[::1]:80" -> "[::1]".
std::string_view host_without_port(std::string_view authority);
// `pattern` in lower case: a name, or "*.example.org" (one or more labels before it).
bool host_matches(std::string_view pattern, std::string_view host);
// Template "/a/:id/*" and a path it matches -> {"id", "7"}, ...; the rest is named "*".
std::vector<std::pair<std::string_view, std::string_view>> path_parameters(
    std::string_view path_template, std::string_view path);

}  // namespace banyan::gateway
