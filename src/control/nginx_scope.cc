#include "control/nginx_scope.h"

#include <algorithm>
#include <set>
#include <utility>

#include "spec/value.h"

namespace banyan::control {
namespace {

// nginx times: "30", "30s", "1m"; a bare number is seconds.
std::optional<spec::Millis> time_of(std::string text) {
  if (!text.empty() && text.back() >= '0' && text.back() <= '9') text += 's';
  return spec::parse_duration(text);
}

std::optional<std::int64_t> size_of(std::string text) {
  if (!text.empty() && (text.back() == 'k' || text.back() == 'm' || text.back() == 'g')) {
    text.back() = static_cast<char>(text.back() & ~0x20);
    text += "iB";
  }
  return spec::parse_size(text);
}

std::string remedy(const std::string& name) {
  if (name == "root" || name == "alias" || name == "try_files" || name == "index")
    return "Banyan serves no files from disk; let the application or another server do it";
  if (name == "if" || name == "rewrite" || name == "map" || name == "set")
    return "write one route for each case: docs/routing.md";
  if (name == "limit_req" || name == "limit_conn" || name.starts_with("limit_"))
    return "see limits of a route and gateway.limits in docs/spec.md";
  if (name == "allow" || name == "deny")
    return "match the route's source, and respond 403 otherwise";
  if (name.starts_with("fastcgi") || name.starts_with("uwsgi") || name == "grpc_pass")
    return "let the application listen for HTTP, or keep nginx in between";
  if (name.starts_with("auth")) return "let the application check it, or keep nginx in between";
  if (name.starts_with("gzip")) return "responses are passed on as the application made them";
  if (name.starts_with("proxy_cache")) return "responses are not cached";
  return "no setting of Banyan stands for it; see docs/spec.md";
}

class Settings {
 public:
  explicit Settings(Imported& out) : out_(out) {}

  void take(const NginxDirective& directive, NginxScope& scope) {
    static const std::set<std::string> kNotNeeded = {"access_log",
                                                     "sendfile",
                                                     "tcp_nopush",
                                                     "tcp_nodelay",
                                                     "keepalive_timeout",
                                                     "default_type",
                                                     "types",
                                                     "proxy_http_version",
                                                     "proxy_buffering",
                                                     "proxy_buffers",
                                                     "proxy_buffer_size",
                                                     "proxy_busy_buffers_size",
                                                     "proxy_request_buffering",
                                                     "server_tokens",
                                                     "charset",
                                                     "log_format",
                                                     "error_log",
                                                     "proxy_redirect",
                                                     "server_names_hash_bucket_size",
                                                     "types_hash_max_size",
                                                     "proxy_temp_path",
                                                     "client_body_temp_path",
                                                     "client_body_buffer_size",
                                                     "large_client_header_buffers",
                                                     "proxy_next_upstream"};
    const auto& args = directive.args;
    if (directive.name == "proxy_set_header" && args.size() == 2)
      set_header(directive, scope);
    else if (directive.name == "add_header" && args.size() >= 2)
      add_header(directive, scope);
    else if (directive.name == "proxy_hide_header" && args.size() == 1)
      scope.hidden.push_back(args[0]);
    else if (directive.name == "client_max_body_size" && args.size() == 1)
      body_size(directive, scope);
    else if (directive.name == "proxy_read_timeout" && args.size() == 1)
      scope.timeout = time_of(args[0]);
    else if (directive.name.starts_with("ssl"))
      leave(directive, "declare TLS under gateway in banyan.yaml");
    else if (!kNotNeeded.contains(directive.name))
      leave(directive, remedy(directive.name));
  }

 private:
  void leave(const NginxDirective& directive, std::string do_this) {
    out_.leave(directive.where, directive.text(), std::move(do_this));
  }

  void set_header(const NginxDirective& directive, NginxScope& scope) {
    static const std::set<std::string> kOwn = {"x-forwarded-for", "x-forwarded-proto",
                                               "x-forwarded-host", "connection", "upgrade"};
    if (!std::exchange(scope.sets_headers, true)) {
      scope.request_headers.clear();
      scope.host.reset();
    }
    std::string name = directive.args[0];
    std::ranges::transform(name, name.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
    });
    const std::string& value = directive.args[1];
    if (kOwn.contains(name)) return;  // the gateway sets them itself
    if (name == "host") {
      scope.host = value == "$host" || value == "$http_host" ? "" : value;
      if (value.starts_with('$') && value != "$host" && value != "$http_host" &&
          value != "$proxy_host") {
        scope.host = "";
        leave(directive, "the client's Host is sent; another one: rewrite.host");
      }
      if (value == "$proxy_host") scope.host.reset();
      return;
    }
    if (value.find('$') != std::string::npos)
      return leave(directive,
                   "the gateway sends X-Forwarded-For, -Proto, -Host and X-Request-Id; use those");
    scope.request_headers.push_back({name, value});
  }

  void add_header(const NginxDirective& directive, NginxScope& scope) {
    if (!std::exchange(scope.adds_headers, true)) scope.response_headers.clear();
    if (directive.args[1].find('$') != std::string::npos)
      return leave(directive, "write a fixed value");
    if (std::ranges::find(scope.response_headers, directive.args[0], &spec::NameValue::name) !=
        scope.response_headers.end())
      return leave(directive, "one value a header: join them with a comma");
    scope.response_headers.push_back({directive.args[0], directive.args[1]});
  }

  void body_size(const NginxDirective& directive, NginxScope& scope) {
    if (const auto size = size_of(directive.args[0]))
      scope.body_bytes = *size;
    else
      leave(directive, "write limits.body_bytes on the route");
  }

  Imported& out_;
};

}  // namespace

void take_setting(const NginxDirective& directive, NginxScope& scope, Imported& out) {
  Settings(out).take(directive, scope);
}

}  // namespace banyan::control
