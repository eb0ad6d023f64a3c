#include "planes/gateway/route_table.h"

#include <fmt/format.h>

#include <algorithm>

#include "wire/http/http1_parser.h"

namespace banyan::gateway {
namespace {

bool share_a_method(const RouteSpec& a, const RouteSpec& b) {
  if (a.methods.empty() != b.methods.empty()) return false;
  if (a.methods.empty()) return true;
  return std::ranges::any_of(a.methods, [&](const std::string& method) {
    return std::ranges::find(b.methods, method) != b.methods.end();
  });
}

// Templates that match the same paths are equal once the parameters' names are gone.
std::string shape(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t slash = path.find('/', 1);
    const std::string_view segment = path.substr(0, slash);
    path.remove_prefix(std::min(slash, path.size()));
    out += segment.starts_with("/:") ? "/:" : segment;
  }
  return out;
}

}  // namespace

std::string_view host_without_port(std::string_view authority) {
  const std::size_t colon = authority.rfind(':');
  if (colon == std::string_view::npos) return authority;
  const std::size_t bracket = authority.rfind(']');
  const bool is_inside_ipv6 = bracket != std::string_view::npos && colon < bracket;
  return is_inside_ipv6 ? authority : authority.substr(0, colon);
}

std::vector<RouteTable::Segment> RouteTable::parse_template(std::string_view path) {
  std::vector<Segment> out;
  while (!path.empty()) {
    path.remove_prefix(1);  // the slash
    const std::size_t slash = path.find('/');
    const std::string_view text = path.substr(0, slash);
    path.remove_prefix(std::min(slash, path.size()));
    if (text == "*")
      out.push_back({Segment::Kind::kRest, {}});
    else if (text.starts_with(':'))
      out.push_back({Segment::Kind::kParam, {}});
    else
      out.push_back({Segment::Kind::kLiteral, std::string(text)});
  }
  return out;
}

bool RouteTable::precedes(const Candidate& a, const Candidate& b) {
  if (a.host.empty() != b.host.empty()) return !a.host.empty();
  const std::size_t shared = std::min(a.segments.size(), b.segments.size());
  for (std::size_t i = 0; i < shared; ++i) {
    if (a.segments[i].kind != b.segments[i].kind) return a.segments[i].kind < b.segments[i].kind;
  }
  if (a.segments.size() != b.segments.size()) return a.segments.size() > b.segments.size();
  if (a.names_method != b.names_method) return a.names_method;
  return a.route < b.route;
}

RouteTable::RouteTable(const std::vector<RouteSpec>& specs) {
  for (const RouteSpec& spec : specs) {
    candidates_.push_back({.host = spec.host.value_or(""),
                           .segments = parse_template(spec.path),
                           .names_method = !spec.methods.empty(),
                           .route = routes_.size()});
    routes_.push_back({spec, routes_.size()});
  }
  std::ranges::sort(candidates_, precedes);
}

bool RouteTable::path_matches(const std::vector<Segment>& segments, std::string_view path) {
  for (const Segment& segment : segments) {
    if (segment.kind == Segment::Kind::kRest) return true;
    if (path.empty()) return false;
    path.remove_prefix(1);  // the slash
    const std::size_t slash = path.find('/');
    const std::string_view text = path.substr(0, slash);
    path.remove_prefix(std::min(slash, path.size()));
    const bool fits = segment.kind == Segment::Kind::kParam ? !text.empty() : text == segment.text;
    if (!fits) return false;
  }
  return path.empty();
}

bool RouteTable::matches(const Candidate& candidate, std::string_view method, std::string_view host,
                         std::string_view path) const {
  if (!candidate.host.empty() && !http::equals_lower(host, candidate.host)) return false;
  if (candidate.names_method) {
    const auto& methods = routes_[candidate.route].spec.methods;
    if (std::ranges::find(methods, method) == methods.end()) return false;
  }
  return path_matches(candidate.segments, path);
}

const Route* RouteTable::match(std::string_view method, std::string_view host,
                               std::string_view path) const {
  if (!path.starts_with('/')) path = "/";  // OPTIONS *
  for (const Candidate& candidate : candidates_) {
    if (matches(candidate, method, host, path)) return &routes_[candidate.route];
  }
  return nullptr;
}

Result<void> RouteTable::check_distinct(const std::vector<RouteSpec>& specs) {
  for (std::size_t a = 0; a < specs.size(); ++a) {
    for (std::size_t b = a + 1; b < specs.size(); ++b) {
      const bool same = specs[a].host == specs[b].host &&
                        shape(specs[a].path) == shape(specs[b].path) &&
                        share_a_method(specs[a], specs[b]);
      if (!same) continue;
      return failure(
          Code::kInvalidArgument,
          fmt::format("routes[{}]: matches the same requests as routes[{}] ('{}' and '{}')", b, a,
                      specs[b].id, specs[a].id));
    }
  }
  return {};
}

}  // namespace banyan::gateway
