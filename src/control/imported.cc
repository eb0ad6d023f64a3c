#include "control/imported.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "control/import_haproxy.h"
#include "control/import_nginx.h"
#include "spec/spec_yaml.h"
#include "spec/value.h"

namespace banyan::control {
namespace {

constexpr std::size_t kFileMax = 4 << 20;

Result<std::string> read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return failure(Code::kNotFound, path + " cannot be read");
  std::ostringstream text;
  text << in.rdbuf();
  if (text.str().size() > kFileMax) return failure(Code::kInvalidArgument, path + " is too large");
  return text.str();
}

bool is_haproxy(const std::string& path, const std::string& text) {
  if (path.ends_with(".cfg")) return true;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string first;
    words >> first;
    for (const char* section : {"global", "defaults", "frontend", "backend", "listen"})
      if (first == section && line.find('{') == std::string::npos && !line.ends_with(';'))
        return true;
  }
  return false;
}

// One line of YAML, whatever the bytes.
std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

// For a comment, where YAML wants printable characters as well.
std::string one_line(std::string text) {
  std::ranges::replace_if(text, [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return text;
}

std::string as_yaml(const std::map<std::string, spec::Service>& services,
                    const std::vector<spec::Route>& routes) {
  std::string out = services.empty() ? "" : "services:\n";
  for (const auto& [key, service] : services)
    out += fmt::format("  {}: {}\n", quoted(key), spec::yaml_of(service));
  out += routes.empty() ? "" : "routes:\n";
  for (const spec::Route& route : routes) out += fmt::format("  - {}\n", spec::yaml_of(route));
  return out;
}

// Why a spec with only these would be refused; empty: it would not.
std::string refusal(const std::map<std::string, spec::Service>& services,
                    const std::vector<spec::Route>& routes) {
  const auto outcome =
      spec::parse_spec("banyan: 1\nname: x\n" + as_yaml(services, routes), "/import.yaml");
  return outcome.ok() ? ""
                      : outcome.problems.front().what + ": " + outcome.problems.front().do_this;
}

}  // namespace

void Imported::add_service(spec::Service service, const std::string& where) {
  const std::string why = refusal({{service.name, service}}, {});
  if (!why.empty()) return leave(where, "service " + service.name, why);
  services[service.name] = std::move(service);
}

void Imported::add_route(spec::Route route, const std::string& where) {
  route.id = spec::RouteMatch{route.methods, route.path}.id();
  const bool known = std::ranges::any_of(routes, [&](const spec::Route& other) {
    return other.id == route.id && other.host == route.host && other.rules.when == route.rules.when;
  });
  if (known)
    return leave(where, route.host.value_or("") + " " + route.id,
                 "an earlier route has this match; remove one");
  const auto to = services.find(route.to);
  std::map<std::string, spec::Service> needed;
  if (to != services.end()) needed.insert(*to);
  const std::string why = refusal(needed, {route});
  if (!why.empty()) return leave(where, route.id, why);
  routes.push_back(std::move(route));
}

std::string service_name(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool is_word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    const bool is_upper = c >= 'A' && c <= 'Z';
    if (is_word) out += c;
    if (is_upper) out += static_cast<char>(c | 0x20);
    if (!is_word && !is_upper && !out.empty() && out.back() != '-') out += '-';
  }
  while (out.ends_with('-')) out.pop_back();
  return out.empty() || out == "source" ? "service" : out;
}

std::optional<std::string> address_with_port(std::string_view text, int port) {
  if (text.starts_with("unix:")) return std::nullopt;
  std::string out(text);
  if (!spec::parse_address(out)) out = fmt::format("{}:{}", text, port);
  if (!spec::parse_address(out)) return std::nullopt;
  return out;
}

Result<Imported> import_file(const std::string& path) {
  TRY(const std::string text, read_text(path));
  if (is_haproxy(path, text)) return import_haproxy(text, path);
  return import_nginx(text, path, read_text);
}

std::string imported_yaml(const Imported& imported, const std::string& name,
                          const std::string& origin) {
  std::string out = fmt::format("# Written by `banyan init --from {}`.\nbanyan: 1\nname: {}\n",
                                one_line(origin), quoted(name));
  if (!imported.listen.empty()) {
    out += "gateway:\n  listen:\n";
    for (const std::string& address : imported.listen) out += "    - " + quoted(address) + "\n";
  }
  out += as_yaml(imported.services, imported.routes);
  out += imported.left.empty() ? "" : "# Not carried over:\n";
  for (const LeftOver& left : imported.left)
    out += fmt::format("#   {}\n#       {}\n", one_line(left.where + ": " + left.what),
                       one_line(left.do_this));
  return out;
}

}  // namespace banyan::control
