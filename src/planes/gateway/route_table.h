#pragma once
// RouteTable: which route a request belongs to. Immutable; shared by all workers.
//
// Priority, the same whatever the order of the snapshot's routes:
//   1. a route for exactly this host before one for any host
//   2. the more specific path, compared segment by segment from the left: literal before
//      `:param` before `*`
//   3. a route that names the method before one for any method
// `:param` matches one non-empty segment; `*` (last only) matches the rest, also none of it, so
// `/*` is everything. A trailing slash counts: /a and /a/ differ.

#include <cstdint>
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
  struct Segment {
    enum class Kind : std::uint8_t { kLiteral, kParam, kRest } kind;
    std::string text;
    auto operator<=>(const Segment&) const = default;
  };
  struct Candidate {
    std::string host;  // empty: any
    std::vector<Segment> segments;
    bool names_method;
    std::size_t route;
  };

  static std::vector<Segment> parse_template(std::string_view path);
  static bool precedes(const Candidate& a, const Candidate& b);
  static bool path_matches(const std::vector<Segment>& segments, std::string_view path);
  bool matches(const Candidate& candidate, std::string_view method, std::string_view host,
               std::string_view path) const;

  std::vector<Route> routes_;
  std::vector<Candidate> candidates_;  // best first
};

// "Docs.Example:8080" -> "Docs.Example"; "[::1]:80" -> "[::1]".
std::string_view host_without_port(std::string_view authority);

}  // namespace banyan::gateway
