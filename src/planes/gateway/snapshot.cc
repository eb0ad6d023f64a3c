#include "planes/gateway/snapshot.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <set>
#include <string_view>

#include "planes/gateway/access_line.h"
#include "planes/gateway/route_table.h"
#include "spec/traffic_fields.h"
#include "spec/traffic_json.h"
#include "wire/http/text.h"

namespace banyan::gateway {
namespace {

using nlohmann::json;

using Reader = spec::JsonReader;

bool is_address(std::string_view text) {
  if (text.starts_with("unix:/")) return text.size() > 6;
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  const std::string_view port = text.substr(colon + 1);
  if (port.empty() || port.size() > 5) return false;
  return std::ranges::all_of(port, [](char c) { return c >= '0' && c <= '9'; });
}

class SnapshotReader {
 public:
  Result<RouteSnapshot> read(const json& in);

 private:
  void read_top(Reader& top);
  void read_backends(const json* in);
  BackendSpec read_backend(const json& in, const std::string& path);
  void read_routes(Reader& top);
  RouteSpec read_route(const json& in, const std::string& path);
  void check_template(Reader& reader, std::string_view path);
  void check_backend(Reader& reader, std::string_view key, const std::string& name);
  void check_targets(Reader& reader, const RouteSpec& route);
  void read_limits(const json* in);
  void read_listeners(const json* in);
  ListenerSpec read_listener(const json& in, const std::string& path);
  io::TlsServerOptions read_tls(const json& in, const std::string& path);

  RouteSnapshot out_;
  std::vector<std::string> problems_;
};

BackendSpec SnapshotReader::read_backend(const json& in, const std::string& path) {
  Reader reader(in, path, problems_);
  BackendSpec out;
  const json* endpoints = reader.member("endpoints");
  if (endpoints == nullptr || !endpoints->is_array()) reader.problem("endpoints", "must be a list");
  std::set<std::string> addresses;
  for (std::size_t i = 0; endpoints != nullptr && endpoints->is_array() && i < endpoints->size();
       ++i) {
    Reader item((*endpoints)[i], fmt::format("{}.endpoints[{}]", path, i), problems_);
    EndpointSpec endpoint{item.required_text("address"), item.optional_text("zone").value_or("")};
    endpoint.weight = static_cast<int>(item.integer("weight", 1, {1, 1000}));
    item.flag({"backup", ""}, endpoint.backup);
    item.refuse_unknown();
    if (!is_address(endpoint.address)) item.problem("address", "must be host:port or unix:/path");
    if (!addresses.insert(endpoint.address).second) item.problem("address", "is there twice");
    out.endpoints.push_back(std::move(endpoint));
  }
  if (const json* health = reader.member("health")) {
    Reader inner(*health, path + ".health", problems_);
    spec::read(inner, out.health.emplace());
    inner.refuse_unknown();
  }
  spec::read(reader, out.traffic);
  if (out.health && out.health->kind == "grpc" && !out.traffic.speaks_http2())
    reader.problem("health", "gRPC is over HTTP/2: set protocol to grpc, h2c or h2");
  reader.refuse_unknown();
  return out;
}

constexpr std::array<std::string_view, 3> kClientCertificates = {"off", "optional", "required"};

io::TlsServerOptions SnapshotReader::read_tls(const json& in, const std::string& path) {
  Reader reader(in, path, problems_);
  io::TlsServerOptions out;
  const json* certificates = reader.member("certificates");
  const bool some = certificates != nullptr && certificates->is_array() && !certificates->empty();
  if (!some) reader.problem("certificates", "must name at least one certificate");
  for (std::size_t i = 0; some && i < certificates->size(); ++i) {
    Reader item((*certificates)[i], fmt::format("{}.certificates[{}]", path, i), problems_);
    out.certificates.push_back({.certificate = item.required_text("certificate"),
                                .key = item.required_text("key"),
                                .ocsp = item.optional_text("ocsp").value_or("")});
    item.refuse_unknown();
  }
  const std::string clients = reader.optional_text("client_certificates").value_or("off");
  const auto found = std::ranges::find(kClientCertificates, clients);
  if (found == kClientCertificates.end())
    reader.problem("client_certificates", "must be off, optional or required");
  else
    out.client_certificates =
        static_cast<io::ClientCertificates>(found - kClientCertificates.begin());
  out.client_ca = reader.optional_text("client_ca").value_or("");
  if (out.client_certificates != io::ClientCertificates::kOff && out.client_ca.empty())
    reader.problem("client_ca", "is required to verify client certificates");
  reader.flag({"http2", "Offer HTTP/2"}, out.http2);
  reader.refuse_unknown();
  return out;
}

ListenerSpec SnapshotReader::read_listener(const json& in, const std::string& path) {
  Reader reader(in, path, problems_);
  ListenerSpec out;
  if (const json* tls = reader.member("tls")) out.tls = read_tls(*tls, path + ".tls");
  out.redirect_https_port = static_cast<int>(reader.integer("redirect_https_port", 0, {0, 65535}));
  if (out.tls && out.redirect_https_port != 0)
    reader.problem("redirect_https_port", "is for listeners without TLS");
  out.hsts_s = reader.integer("hsts_s", 0, {0, std::int64_t{1} << 32});
  if (!out.tls && out.hsts_s != 0) reader.problem("hsts_s", "is for listeners with TLS");
  reader.refuse_unknown();
  return out;
}

void SnapshotReader::read_listeners(const json* in) {
  if (in == nullptr) return;
  if (!in->is_object()) {
    problems_.emplace_back("listeners: must be an object of address to options");
    return;
  }
  for (const auto& item : in->items()) {
    const std::string path = fmt::format("listeners[{}]", item.key());
    if (std::ranges::find(out_.listen, item.key()) == out_.listen.end())
      problems_.push_back(path + ": is no address of listen");
    out_.listeners[item.key()] = read_listener(item.value(), path);
  }
}

void SnapshotReader::read_backends(const json* in) {
  if (in == nullptr || !in->is_object()) {
    problems_.emplace_back("backends: must be an object of name to backend");
    return;
  }
  for (const auto& item : in->items()) {
    out_.backends[item.key()] = read_backend(item.value(), "backends." + item.key());
  }
}

void SnapshotReader::check_template(Reader& reader, std::string_view path) {
  if (!path.starts_with('/')) return reader.problem("path", "must start with /");
  if (path.find_first_of("?# ") != std::string_view::npos) {
    return reader.problem("path", "must have no ?, # or blank");
  }
  const std::size_t star = path.find('*');
  if (star != std::string_view::npos && (star + 1 != path.size() || path[star - 1] != '/')) {
    return reader.problem("path", "may have * only as its last segment");
  }
  if (path.find("/:/") != std::string_view::npos || path.ends_with("/:")) {
    reader.problem("path", "has a parameter without a name");
  }
}

std::string lower_case(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
  return text;
}

void SnapshotReader::check_backend(Reader& reader, std::string_view key, const std::string& name) {
  if (!out_.backends.contains(name))
    reader.problem(key, fmt::format("no backend named '{}'", name));
}

void SnapshotReader::check_targets(Reader& reader, const RouteSpec& route) {
  const spec::RouteRules& rules = route.rules;
  for (const spec::Weight& weight : rules.weights) check_backend(reader, "weights", weight.to);
  if (rules.fallback && rules.fallback->to) check_backend(reader, "fallback", *rules.fallback->to);
  if (!route.to.empty()) return check_backend(reader, "to", route.to);
  if (rules.weights.empty() && !rules.redirect && !rules.respond)
    reader.problem("to", "is required");
}

RouteSpec SnapshotReader::read_route(const json& in, const std::string& path) {
  Reader reader(in, path, problems_);
  RouteSpec out;
  out.id = reader.required_text("id");
  out.methods = reader.texts("methods");
  for (const std::string& method : out.methods) {
    if (!http::is_token(method))
      reader.problem("methods", fmt::format("'{}' is no method", method));
  }
  if (auto host = reader.optional_text("host")) out.host = lower_case(*std::move(host));
  out.path = reader.required_text("path");
  if (!out.path.empty()) check_template(reader, out.path);
  out.to = reader.optional_text("to").value_or("");
  spec::read(reader, out.rules);
  check_targets(reader, out);
  reader.refuse_unknown();
  return out;
}

void SnapshotReader::read_routes(Reader& top) {
  const json* in = top.member("routes");
  if (in == nullptr || !in->is_array()) return top.problem("routes", "must be a list");
  std::set<std::string> ids;
  for (std::size_t i = 0; i < in->size(); ++i) {
    const std::string path = fmt::format("routes[{}]", i);
    out_.routes.push_back(read_route((*in)[i], path));
    const std::string& id = out_.routes.back().id;
    if (!ids.insert(id).second)
      problems_.push_back(fmt::format("{}.id: '{}' is there twice", path, id));
  }
}

void SnapshotReader::read_limits(const json* in) {
  if (in == nullptr) return;
  Reader reader(*in, "limits", problems_);
  spec::read(reader, out_.limits);
  reader.refuse_unknown();
}

void SnapshotReader::read_top(Reader& top) {
  out_.epoch = static_cast<std::uint64_t>(top.integer("epoch", 0, {0, std::int64_t{1} << 62}));
  if (top.member("epoch") == nullptr) top.problem("epoch", "is required");
  out_.listen = top.texts("listen");
  if (out_.listen.empty()) top.problem("listen", "must name at least one address");
  for (const std::string& address : out_.listen) {
    if (!is_address(address)) top.problem("listen", fmt::format("'{}' is not host:port", address));
  }
  out_.public_host = top.optional_text("public_host");
  out_.access_log = top.optional_text("access_log");
  out_.access_log_fields = top.texts("access_log_fields");
  if (const auto known = AccessLine::parse_fields(out_.access_log_fields); !known)
    top.problem("access_log_fields", known.error().message());
  out_.zone = top.optional_text("zone");
  top.choice({"desync", ""}, {"defensive", "monitor", "strictest"}, out_.desync);
}

Result<RouteSnapshot> SnapshotReader::read(const json& in) {
  Reader top(in, "", problems_);
  if (in.is_object()) {
    read_top(top);
    read_listeners(top.member("listeners"));
    read_backends(top.member("backends"));
    read_routes(top);
    read_limits(top.member("limits"));
    top.group({"rehome", ""}, out_.rehome);
    top.group({"tracing", ""}, out_.tracing);
    top.group({"limits_redis", ""}, out_.limits_redis);
    if (out_.limits.shared.has_value() != out_.limits_redis.has_value())
      top.problem("limits_redis", "goes with limits.shared");
    top.refuse_unknown();
  }
  if (problems_.empty()) {
    if (auto distinct = RouteTable::check_distinct(out_.routes); !distinct) {
      problems_.push_back(distinct.error().message());
    }
  }
  if (problems_.empty()) return std::move(out_);
  return failure(Code::kInvalidArgument, fmt::format("{}", fmt::join(problems_, "\n")));
}

json backend_json(const BackendSpec& backend) {
  json out{{"endpoints", json::array()}};
  for (const EndpointSpec& endpoint : backend.endpoints) {
    json one = {{"address", endpoint.address}, {"zone", endpoint.zone}};
    if (endpoint.weight != 1) one["weight"] = endpoint.weight;
    if (endpoint.backup) one["backup"] = true;
    out["endpoints"].push_back(std::move(one));
  }
  if (backend.traffic != spec::Traffic{}) spec::write(backend.traffic, out);
  if (backend.health) spec::write(*backend.health, out["health"] = json::object());
  return out;
}

json listener_json(const ListenerSpec& listener) {
  json out{{"redirect_https_port", listener.redirect_https_port}, {"hsts_s", listener.hsts_s}};
  if (!listener.tls) return out;
  const io::TlsServerOptions& tls = *listener.tls;
  json certificates = json::array();
  for (const io::CertificateFiles& files : tls.certificates)
    certificates.push_back(
        {{"certificate", files.certificate}, {"key", files.key}, {"ocsp", files.ocsp}});
  const auto clients = static_cast<std::size_t>(tls.client_certificates);
  out["tls"] = {{"certificates", std::move(certificates)},
                {"client_certificates", kClientCertificates.at(clients)},
                {"client_ca", tls.client_ca},
                {"http2", tls.http2}};
  return out;
}

json or_null(const std::optional<std::string>& text) {
  return text ? json(*text) : json();
}

}  // namespace

Result<RouteSnapshot> RouteSnapshot::from_json(const json& in) {
  return SnapshotReader().read(in);
}

json RouteSnapshot::to_json() const {
  json out{{"epoch", epoch},
           {"listen", listen},
           {"public_host", or_null(public_host)},
           {"access_log", or_null(access_log)},
           {"access_log_fields", access_log_fields},
           {"zone", or_null(zone)},
           {"desync", desync},
           {"backends", json::object()},
           {"routes", json::array()},
           {"limits", json::object()}};
  spec::write(limits, out["limits"]);
  auto moved = rehome;  // copies: `group` serves readers too
  auto traced = tracing;
  auto counted = limits_redis;
  spec::JsonWriter(out).group({"rehome", ""}, moved);
  spec::JsonWriter(out).group({"tracing", ""}, traced);
  spec::JsonWriter(out).group({"limits_redis", ""}, counted);
  if (!listeners.empty()) out["listeners"] = json::object();
  for (const auto& [address, listener] : listeners)
    out["listeners"][address] = listener_json(listener);
  for (const auto& [name, backend] : backends) out["backends"][name] = backend_json(backend);
  for (const RouteSpec& route : routes) {
    json one = {{"id", route.id},
                {"methods", route.methods},
                {"host", or_null(route.host)},
                {"path", route.path}};
    if (!route.to.empty()) one["to"] = route.to;
    spec::write(route.rules, one);
    out["routes"].push_back(std::move(one));
  }
  return out;
}

bool RouteSnapshot::has(const EndpointName& endpoint) const {
  const auto backend = backends.find(endpoint.backend);
  if (backend == backends.end()) return false;
  return std::ranges::any_of(backend->second.endpoints, [&](const EndpointSpec& known) {
    return known.address == endpoint.address;
  });
}

}  // namespace banyan::gateway
