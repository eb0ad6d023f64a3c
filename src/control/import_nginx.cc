#include "control/import_nginx.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "control/nginx_includes.h"
#include "control/nginx_scope.h"
#include "spec/value.h"

namespace banyan::control {
namespace {

using Directives = std::vector<NginxDirective>;

// "$scheme://$host$request_uri" -> "${scheme}://${host}${uri}"; nothing when a variable is unknown.
std::optional<std::string> location_of(std::string_view text) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 8> kKnown = {
      {{"$is_args$args", "${query}"},
       {"$request_uri", "${uri}"},
       {"$http_host", "${host}"},
       {"$server_name", "${host}"},
       {"$document_uri", "${path}"},
       {"$scheme", "${scheme}"},
       {"$host", "${host}"},
       {"$uri", "${path}"}}};
  std::string out;
  while (!text.empty()) {
    const auto known =
        std::ranges::find_if(kKnown, [&](const auto& v) { return text.starts_with(v.first); });
    if (known != kKnown.end()) {
      out += known->second;
      text.remove_prefix(known->first.size());
      continue;
    }
    if (text.front() == '$') return std::nullopt;
    out += text.front();
    text.remove_prefix(1);
  }
  return out;
}

class NginxImport {
 public:
  explicit NginxImport(Imported& out) : out_(out) {}

  void top(const Directives& directives) {
    const auto is_http = [](const auto& directive) { return directive.name == "http"; };
    if (std::ranges::none_of(directives, is_http)) {
      // A file of sites-enabled stands inside http.
      NginxDirective whole;
      whole.block = directives;
      return http(whole);
    }
    static const std::set<std::string> kOfTheProcess = {
        "user",   "worker_processes",     "pid",        "error_log",
        "events", "worker_rlimit_nofile", "load_module"};
    for (const NginxDirective& directive : directives) {
      if (is_http(directive))
        http(directive);
      else if (!kOfTheProcess.contains(directive.name))
        leave(directive, "Banyan's gateway carries HTTP only; keep nginx for this");
    }
  }

 private:
  void leave(const NginxDirective& directive, std::string do_this) {
    out_.leave(directive.where, directive.text(), std::move(do_this));
  }

  // ---- http, upstream, server

  void http(const NginxDirective& http) {
    for (const NginxDirective& directive : http.block)
      if (directive.name == "upstream" && !directive.args.empty()) upstream(directive);
    NginxScope scope;
    std::vector<const NginxDirective*> servers;
    for (const NginxDirective& directive : http.block) {
      if (directive.name == "server")
        servers.push_back(&directive);
      else if (directive.name != "upstream" && directive.name != "http")
        take_setting(directive, scope, out_);
    }
    const auto is_default = [](const NginxDirective* server) {
      return std::ranges::any_of(server->block, [](const NginxDirective& directive) {
        return directive.name == "listen" &&
               std::ranges::any_of(directive.args, [](const std::string& arg) {
                 return arg == "default_server" || arg == "default";
               });
      });
    };
    const auto marked = std::ranges::find_if(servers, is_default);
    const NginxDirective* fallback = marked != servers.end() ? *marked
                                     : servers.empty()       ? nullptr
                                                             : servers.front();
    for (const NginxDirective* one : servers) server(*one, scope, one == fallback);
  }

  void upstream(const NginxDirective& upstream) {
    spec::Service service;
    service.name = service_name(upstream.args[0]);
    for (const NginxDirective& directive : upstream.block) {
      if (directive.name == "server")
        endpoint(directive, service);
      else if (directive.name == "ip_hash")
        service.traffic.balance = "hash";
      else if (directive.name == "hash")
        hash_of(directive, service);
      else if (directive.name != "keepalive" && directive.name != "least_conn" &&
               directive.name != "zone" && directive.name != "keepalive_timeout" &&
               directive.name != "keepalive_requests")
        leave(directive, "see services.NAME.traffic in docs/spec.md");
    }
    if (!service.endpoints.empty()) out_.add_service(std::move(service), upstream.where);
  }

  void endpoint(const NginxDirective& directive, spec::Service& service) {
    if (directive.args.empty()) return leave(directive, "name an address");
    const auto address = address_with_port(directive.args[0], 80);
    if (!address) return leave(directive, "write an address as host:port");
    spec::ServiceEndpoint endpoint{*address, "", 1, false};
    for (std::size_t i = 1; i < directive.args.size(); ++i) {
      const std::string& arg = directive.args[i];
      if (arg.starts_with("weight="))
        endpoint.weight = static_cast<int>(spec::parse_integer(arg.substr(7)).value_or(1));
      else if (arg == "backup")
        endpoint.backup = true;
      else if (arg == "down")
        return leave(directive, "the server is marked down; add it when it is up");
      else if (!arg.starts_with("max_fails=") && !arg.starts_with("fail_timeout="))
        leave(directive, arg + " is not carried: see services.NAME.traffic");
    }
    endpoint.weight = std::clamp(endpoint.weight, 1, 1000);
    service.endpoints.push_back(std::move(endpoint));
  }

  void hash_of(const NginxDirective& directive, spec::Service& service) {
    service.traffic.balance = "hash";
    const std::string key = directive.args.empty() ? "" : directive.args[0];
    if (key == "$remote_addr" || key == "$binary_remote_addr") return;
    if (key.starts_with("$cookie_")) {
      service.traffic.hash = {"cookie", key.substr(8), ""};
    } else if (key.starts_with("$http_")) {
      std::string name = key.substr(6);
      std::ranges::replace(name, '_', '-');
      service.traffic.hash = {"header", name, ""};
    } else {
      leave(directive, "hashed by the client's address; other keys: cookie, header, claim");
    }
  }

  void server(const NginxDirective& server, NginxScope scope, bool is_default) {
    std::vector<std::optional<std::string>> hosts;
    std::vector<const NginxDirective*> locations;
    const NginxDirective* answer = nullptr;
    for (const NginxDirective& directive : server.block) {
      if (directive.name == "server_name")
        names(directive, hosts);
      else if (directive.name == "listen")
        listen(directive);
      else if (directive.name == "location")
        locations.push_back(&directive);
      else if (directive.name == "return")
        answer = &directive;
      else
        take_setting(directive, scope, out_);
    }
    if (is_default || hosts.empty()) hosts = {std::nullopt};
    bool has_root = false;
    for (const NginxDirective* one : locations) has_root |= location(*one, scope, hosts);
    if (answer != nullptr) {
      for (const auto& host : hosts) give_answer(*answer, route_at("/*", host), scope);
    } else if (!has_root && hosts.front()) {
      for (const auto& host : hosts) not_found(route_at("/*", host), server.where);
    }
  }

  void names(const NginxDirective& directive, std::vector<std::optional<std::string>>& hosts) {
    for (const std::string& name : directive.args) {
      if (name == "_" || name.empty()) continue;
      if (name.starts_with('~') || name.ends_with('*'))
        leave(directive, "name the hosts, or *.example.org for all below one");
      else if (name.starts_with('.'))
        hosts.insert(hosts.end(), {name.substr(1), "*" + name});
      else
        hosts.emplace_back(name);
    }
  }

  void listen(const NginxDirective& directive) {
    if (directive.args.empty()) return;
    const bool is_tls = std::ranges::find(directive.args, "ssl") != directive.args.end();
    if (is_tls || directive.args[0].ends_with("443"))
      return leave(directive,
                   "declare its certificate and this address under gateway in banyan.yaml");
    std::string at = directive.args[0];
    if (spec::parse_integer(at)) at = "0.0.0.0:" + at;
    if (at.starts_with("*:")) at = "0.0.0.0" + at.substr(1);
    const auto address = address_with_port(at, 80);
    if (!address) return leave(directive, "write an address as host:port under gateway.listen");
    if (std::ranges::find(out_.listen, *address) == out_.listen.end())
      out_.listen.push_back(*address);
  }

  // ---- locations

  static spec::Route route_at(std::string path, const std::optional<std::string>& host) {
    spec::Route route;
    route.path = std::move(path);
    route.host = host;
    return route;
  }

  void not_found(spec::Route route, const std::string& where) {
    route.rules.respond = spec::Respond{.status = 404, .body = "404 Not Found\n"};
    out_.add_route(std::move(route), where);
  }

  // The path as a match; empty: cannot be carried.
  std::string match_of(const NginxDirective& location) {
    const auto& args = location.args;
    const bool is_exact = args.size() == 2 && args[0] == "=";
    const bool is_prefix = args.size() == 1 || (args.size() == 2 && args[0] == "^~");
    std::string path = args.empty() ? "" : args.back();
    const bool is_plain = path.starts_with('/') && path.find_first_of("*: ?#") == std::string::npos;
    if (is_exact && is_plain) return path;
    if (!is_prefix || !is_plain) return {};
    if (path == "/") return "/*";
    if (path.ends_with('/')) path.pop_back();
    return path + "/*";
  }

  // True when it is the location of everything else.
  bool location(const NginxDirective& location, NginxScope scope,
                const std::vector<std::optional<std::string>>& hosts) {
    scope.sets_headers = scope.adds_headers = false;
    const std::string match = match_of(location);
    if (match.empty()) {
      leave(location, location.args.empty() || !location.args[0].starts_with('@')
                          ? "regular expressions are not matched: write the paths as routes"
                          : "named locations are not needed; see fallback in docs/routing.md");
      return false;
    }
    const NginxDirective* pass = nullptr;
    const NginxDirective* answer = nullptr;
    for (const NginxDirective& directive : location.block) {
      if (directive.name == "proxy_pass")
        pass = &directive;
      else if (directive.name == "return")
        answer = &directive;
      else if (directive.name == "location")
        this->location(directive, scope, hosts);
      else
        take_setting(directive, scope, out_);
    }
    for (const auto& host : hosts) {
      if (answer != nullptr)
        give_answer(*answer, route_at(match, host), scope);
      else if (pass != nullptr)
        proxy(*pass, route_at(match, host), scope);
    }
    if (pass == nullptr && answer == nullptr)
      leave(location, "nothing is proxied here; Banyan serves no files from disk");
    return match == "/*";
  }

  void proxy(const NginxDirective& pass, spec::Route route, const NginxScope& scope) {
    std::string_view url = pass.args.empty() ? "" : std::string_view(pass.args[0]);
    if (!url.starts_with("http://") || url.find('$') != std::string_view::npos)
      return leave(pass, "name an http:// address or upstream without variables");
    url.remove_prefix(7);
    const std::size_t slash = std::min(url.find('/'), url.size());
    const std::string authority(url.substr(0, slash));
    route.to = service_for(authority, pass.where);
    if (route.to.empty()) return leave(pass, "name an address as host:port");
    if (slash < url.size()) rewrite_prefix(pass, std::string(url.substr(slash)), route);
    const std::string host =
        scope.host ? *scope.host : authority;  // nginx sends its own name for it
    if (!host.empty()) {
      if (!route.rules.rewrite) route.rules.rewrite.emplace();
      route.rules.rewrite->host = host;
    }
    apply(scope, route);
    out_.add_route(std::move(route), pass.where);
  }

  void rewrite_prefix(const NginxDirective& pass, std::string uri, spec::Route& route) {
    if (!route.path.ends_with("/*"))
      return uri == route.path ? void() : leave(pass, "end the match in /* to replace its prefix");
    if (uri.size() > 1 && uri.ends_with('/')) uri.pop_back();
    if (uri == route.path.substr(0, route.path.size() - 2) || (uri == "/" && route.path == "/*"))
      return;
    route.rules.rewrite = spec::Rewrite{.prefix = std::move(uri), .host = std::nullopt};
  }

  std::string service_for(const std::string& authority, const std::string& where) {
    const std::string name = service_name(authority);
    if (out_.services.contains(name)) return name;
    const auto address = address_with_port(authority, 80);
    if (!address) return {};
    spec::Service service;
    service.name = name;
    service.endpoints = {{*address, "", 1, false}};
    out_.add_service(std::move(service), where);
    return out_.services.contains(name) ? name : "";
  }

  static void apply(const NginxScope& scope, spec::Route& route) {
    for (const auto& field : scope.request_headers) {
      if (field.value.empty())
        route.rules.headers.request.remove.push_back(field.name);
      else
        route.rules.headers.request.set.push_back(field);
    }
    route.rules.headers.response.add = scope.response_headers;
    route.rules.headers.response.remove = scope.hidden;
    route.rules.limits.body_bytes = scope.body_bytes;
    route.rules.timeout = scope.timeout;
  }

  void give_answer(const NginxDirective& answer, spec::Route route, const NginxScope& scope) {
    const auto& args = answer.args;
    const auto status = args.empty() ? std::nullopt : spec::parse_integer(args[0]);
    const std::string text = args.size() > 1 ? args[1]
                                             : (status         ? ""
                                                : args.empty() ? ""
                                                               : args[0]);
    const std::int64_t code = status.value_or(302);
    if (code >= 301 && code <= 308 && code != 304 && code != 305 && code != 306) {
      const auto location = location_of(text);
      if (!location || location->empty())
        return leave(answer, "write the redirect's location with ${host}, ${uri}, ...");
      route.rules.redirect =
          spec::Redirect{.status = static_cast<int>(code), .location = *location};
    } else if (code >= 200 && code <= 599 && code != 444 && text.find('$') == std::string::npos) {
      route.rules.respond = spec::Respond{.status = static_cast<int>(code), .body = text};
    } else {
      return leave(answer, "write a fixed answer: respond in docs/routing.md");
    }
    route.rules.headers.response.add = scope.response_headers;
    out_.add_route(std::move(route), answer.where);
  }

  Imported& out_;
};

}  // namespace

Result<Imported> import_nginx(std::string_view text, const std::string& file,
                              const ReadFile& read) {
  Imported out;
  TRY(Directives directives, parse_nginx(text, file));
  TRY(directives, expand_includes(std::move(directives), file, read, out));
  NginxImport(out).top(directives);
  return out;
}

}  // namespace banyan::control
