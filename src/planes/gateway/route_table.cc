#include "planes/gateway/route_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace banyan::gateway {
namespace {

bool share_a_method(const RouteSpec& a, const RouteSpec& b) {
  if (a.methods.empty() != b.methods.empty()) return false;
  if (a.methods.empty()) return true;
  return std::ranges::any_of(a.methods, [&](const std::string& method) {
    return std::ranges::find(b.methods, method) != b.methods.end();
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

}  // namespace

std::string_view host_without_port(std::string_view authority) {
  const std::size_t colon = authority.rfind(':');
  if (colon == std::string_view::npos) return authority;
  const std::size_t bracket = authority.rfind(']');
  const bool is_inside_ipv6 = bracket != std::string_view::npos && colon < bracket;
  return is_inside_ipv6 ? authority : authority.substr(0, colon);
}

RouteTable::RouteTable(const std::vector<RouteSpec>& specs) {
  routes_.reserve(specs.size());
  for (const RouteSpec& spec : specs) routes_.push_back({spec, routes_.size()});
  for (const Route& route : routes_) add(route);
}

void RouteTable::add(const Route& route) {
  Node* node = &any_host_;
  if (route.spec.host) {
    auto& root = hosts_[*route.spec.host];
    if (root == nullptr) root = std::make_unique<Node>();
    node = root.get();
  }
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

// Those that name their methods come first; otherwise as in the snapshot.
void RouteTable::insert(std::vector<RouteIndex>& at, RouteIndex route) const {
  const bool names_method = !routes_[route].spec.methods.empty();
  const auto names_none = [&](RouteIndex other) { return routes_[other].spec.methods.empty(); };
  at.insert(names_method ? std::ranges::find_if(at, names_none) : at.end(), route);
}

const Route* RouteTable::best(const std::vector<RouteIndex>& at, std::string_view method) const {
  for (const RouteIndex index : at) {
    const auto& methods = routes_[index].spec.methods;
    if (methods.empty() || std::ranges::find(methods, method) != methods.end())
      return &routes_[index];
  }
  return nullptr;
}

const Route* RouteTable::find(const Node& node, std::string_view method,
                              std::string_view path) const {
  const Route* found = nullptr;
  if (path.empty()) {
    found = best(node.ends, method);
  } else {
    std::string_view after = path;
    const std::string_view segment = take_segment(after);
    const auto literal = node.literals.find(segment);
    if (literal != node.literals.end()) found = find(*literal->second, method, after);
    if (found == nullptr && node.param != nullptr && !segment.empty())
      found = find(*node.param, method, after);
  }
  return found != nullptr ? found : best(node.rest, method);
}

const RouteTable::Node* RouteTable::of_host(std::string_view host) const {
  if (hosts_.empty()) return nullptr;
  std::string lower(host);  // short names need no allocation
  std::ranges::transform(lower, lower.begin(), lower_case);
  const auto found = hosts_.find(lower);
  return found == hosts_.end() ? nullptr : found->second.get();
}

const Route* RouteTable::match(std::string_view method, std::string_view host,
                               std::string_view path) const {
  if (!path.starts_with('/')) path = "/";  // OPTIONS *
  const Node* const own = of_host(host);
  const Route* const found = own != nullptr ? find(*own, method, path) : nullptr;
  return found != nullptr ? found : find(any_host_, method, path);
}

Result<void> RouteTable::check_distinct(const std::vector<RouteSpec>& specs) {
  std::map<std::pair<std::optional<std::string>, std::string>, std::vector<std::size_t>> alike;
  for (std::size_t b = 0; b < specs.size(); ++b) {
    std::vector<std::size_t>& earlier = alike[{specs[b].host, shape(specs[b].path)}];
    for (const std::size_t a : earlier) {
      if (!share_a_method(specs[a], specs[b])) continue;
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
