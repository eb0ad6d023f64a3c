#include "planes/gateway/route_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

#include "wire/http/text.h"

namespace banyan::gateway {
namespace {

bool takes_method(const RouteSpec& spec, std::string_view method) {
  return spec.methods.empty() || std::ranges::find(spec.methods, method) != spec.methods.end();
}

bool share_a_method(const RouteSpec& a, const RouteSpec& b) {
  if (a.methods.empty() != b.methods.empty()) return false;
  return a.methods.empty() || std::ranges::any_of(a.methods, [&](const std::string& method) {
           return takes_method(b, method);
         });
}

char lower_case(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}

// "/a/b" -> "a", and "/b" is left.
std::string_view take_segment(std::string_view& path) {
  path.remove_prefix(1);
  const std::string_view segment = path.substr(0, path.find('/'));
  path.remove_prefix(segment.size());
  return segment;
}

// Templates that match the same paths are equal once the parameters' names are gone.
std::string shape(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::string_view segment = take_segment(path);
    out += '/';
    out += segment.starts_with(':') ? ":" : segment;
  }
  return out;
}

bool matches_template(std::string_view pattern, std::string_view path) {
  while (!pattern.empty()) {
    const std::string_view wanted = take_segment(pattern);
    if (wanted == "*") return true;
    if (path.empty()) return false;
    const std::string_view segment = take_segment(path);
    if (wanted.starts_with(':') ? segment.empty() : segment != wanted) return false;
  }
  return path.empty();
}

// Orders templates that match one path: literal, parameter, rest; an end before the rest.
std::string specificity(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::string_view segment = take_segment(path);
    out += segment == "*" ? '2' : (segment.starts_with(':') ? '1' : '0');
  }
  return out;
}

std::string mismatch(const Route& route, const RequestFacts& facts) {
  if (route.spec.host && !host_matches(*route.spec.host, facts.host)) return "another host";
  if (!matches_template(route.spec.path, facts.path)) return "another path";
  if (!takes_method(route.spec, facts.method)) return "another method";
  return route.conditions.unmet(facts);
}

// Among routes of one host and template.
auto rank(const Route& route) {
  return std::tuple(route.spec.methods.empty(), ~route.conditions.size(), route.index);
}

}  // namespace

std::string_view host_without_port(std::string_view authority) {
  const std::size_t colon = authority.rfind(':');
  if (colon == std::string_view::npos) return authority;
  const std::size_t bracket = authority.rfind(']');
  const bool is_inside_ipv6 = bracket != std::string_view::npos && colon < bracket;
  return is_inside_ipv6 ? authority : authority.substr(0, colon);
}

bool host_matches(std::string_view pattern, std::string_view host) {
  if (!pattern.starts_with("*.")) return http::equals_lower(host, pattern);
  const std::string_view suffix = pattern.substr(1);
  return host.size() > suffix.size() &&
         http::equals_lower(host.substr(host.size() - suffix.size()), suffix);
}

std::vector<std::pair<std::string_view, std::string_view>> path_parameters(
    std::string_view path_template, std::string_view path) {
  std::vector<std::pair<std::string_view, std::string_view>> out;
  while (!path_template.empty()) {
    const std::string_view wanted = take_segment(path_template);
    if (wanted == "*") {
      out.emplace_back(wanted, path.empty() ? path : path.substr(1));
      break;
    }
    if (path.empty()) break;
    const std::string_view segment = take_segment(path);
    if (wanted.starts_with(':')) out.emplace_back(wanted.substr(1), segment);
  }
  return out;
}

RouteTable::RouteTable(const std::vector<RouteSpec>& specs) {
  routes_.reserve(specs.size());
  for (const RouteSpec& spec : specs) {
    routes_.push_back({spec, routes_.size(), RouteConditions(spec.rules.when)});
    has_conditions_ |= routes_.back().conditions.size() > 0;
  }
  for (const Route& route : routes_) add(route);
  std::ranges::sort(wildcards_, [](const Wildcard& a, const Wildcard& b) {
    return a.pattern.size() > b.pattern.size();
  });
}

RouteTable::Node& RouteTable::root_of(const RouteSpec& spec) {
  if (!spec.host) return any_host_;
  if (spec.host->starts_with("*.")) {
    const auto known = std::ranges::find(wildcards_, *spec.host, &Wildcard::pattern);
    if (known != wildcards_.end()) return *known->root;
    return *wildcards_.emplace_back(*spec.host, std::make_unique<Node>()).root;
  }
  auto& root = hosts_[*spec.host];
  if (root == nullptr) root = std::make_unique<Node>();
  return *root;
}

void RouteTable::add(const Route& route) {
  Node* node = &root_of(route.spec);
  const auto index = static_cast<RouteIndex>(route.index);
  for (std::string_view path = route.spec.path; !path.empty();) {
    const std::string_view segment = take_segment(path);
    if (segment == "*") return insert(node->rest, index);
    node = &step(*node, segment);
  }
  insert(node->ends, index);
}

RouteTable::Node& RouteTable::step(Node& node, std::string_view segment) {
  std::unique_ptr<Node>& next =
      segment.starts_with(':') ? node.param : node.literals[std::string(segment)];
  if (next == nullptr) next = std::make_unique<Node>();
  return *next;
}

void RouteTable::insert(std::vector<RouteIndex>& at, RouteIndex route) const {
  const auto comes_later = [&](RouteIndex other) {
    return rank(routes_[route]) < rank(routes_[other]);
  };
  at.insert(std::ranges::find_if(at, comes_later), route);
}

const Route* RouteTable::best(const std::vector<RouteIndex>& at, const RequestFacts& facts) const {
  for (const RouteIndex index : at) {
    const Route& route = routes_[index];
    if (takes_method(route.spec, facts.method) && route.conditions.hold(facts)) return &route;
  }
  return nullptr;
}

const Route* RouteTable::find(const Node& node, const RequestFacts& facts,
                              std::string_view path) const {
  const Route* found = nullptr;
  if (path.empty()) {
    found = best(node.ends, facts);
  } else {
    std::string_view after = path;
    const std::string_view segment = take_segment(after);
    const auto literal = node.literals.find(segment);
    if (literal != node.literals.end()) found = find(*literal->second, facts, after);
    if (found == nullptr && node.param != nullptr && !segment.empty())
      found = find(*node.param, facts, after);
  }
  return found != nullptr ? found : best(node.rest, facts);
}

const RouteTable::Node* RouteTable::of_host(std::string_view host) const {
  if (hosts_.empty()) return nullptr;
  std::string lower(host);  // short names need no allocation
  std::ranges::transform(lower, lower.begin(), lower_case);
  const auto found = hosts_.find(lower);
  return found == hosts_.end() ? nullptr : found->second.get();
}

const Route* RouteTable::match(const RequestFacts& facts) const {
  const std::string_view path = facts.path.starts_with('/') ? facts.path : "/";  // OPTIONS *
  const Node* const own = of_host(facts.host);
  const Route* found = own != nullptr ? find(*own, facts, path) : nullptr;
  for (const Wildcard& wildcard : wildcards_) {
    if (found != nullptr) break;
    if (host_matches(wildcard.pattern, facts.host)) found = find(*wildcard.root, facts, path);
  }
  return found != nullptr ? found : find(any_host_, facts, path);
}

std::vector<RouteVerdict> RouteTable::explain(const RequestFacts& facts) const {
  const auto order = [](const Route* route) {
    const std::string host = route->spec.host.value_or("");
    const int kind = host.empty() ? 2 : (host.starts_with("*.") ? 1 : 0);
    return std::tuple(kind, ~host.size(), specificity(route->spec.path), rank(*route));
  };
  std::vector<const Route*> ordered;
  for (const Route& route : routes_) ordered.push_back(&route);
  std::ranges::sort(ordered, {}, order);
  std::vector<RouteVerdict> out;
  for (const Route* route : ordered) {
    out.push_back({route->spec.id, mismatch(*route, facts)});
    if (out.back().why_not.empty()) break;
  }
  return out;
}

Result<void> RouteTable::check_distinct(const std::vector<RouteSpec>& specs) {
  std::map<std::pair<std::optional<std::string>, std::string>, std::vector<std::size_t>> alike;
  for (std::size_t b = 0; b < specs.size(); ++b) {
    std::vector<std::size_t>& earlier = alike[{specs[b].host, shape(specs[b].path)}];
    for (const std::size_t a : earlier) {
      if (!share_a_method(specs[a], specs[b]) || specs[a].rules.when != specs[b].rules.when)
        continue;
      return failure(
          Code::kInvalidArgument,
          fmt::format("routes[{}]: matches the same requests as routes[{}] ('{}' and '{}')", b, a,
                      specs[b].id, specs[a].id));
    }
    earlier.push_back(b);
  }
  return {};
}

}  // namespace banyan::gateway
