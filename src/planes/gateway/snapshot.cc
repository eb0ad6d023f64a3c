#include "planes/gateway/snapshot.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "planes/gateway/route_table.h"
#include "wire/http/http1_parser.h"

namespace banyan::gateway {
namespace {

using nlohmann::json;

std::string join(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

struct Range {
  std::int64_t least;
  std::int64_t most;
};

// Reads typed members of one JSON object; gathers what is wrong instead of stopping.
class Reader {
 public:
  Reader(const json& in, std::string path, std::vector<std::string>& problems)
      : in_(in), path_(std::move(path)), problems_(problems) {
    if (!in_.is_object()) problem("", "must be an object");
  }

  void problem(std::string_view key, std::string_view what) {
    const std::string at = key.empty() ? path_ : join(path_, key);
    problems_.push_back(fmt::format("{}: {}", at.empty() ? "snapshot" : at, what));
  }

  // Null when absent, null or not an object.
  const json* member(std::string_view key) {
    seen_.insert(std::string(key));
    if (!in_.is_object()) return nullptr;
    const auto found = in_.find(key);
    return found == in_.end() || found->is_null() ? nullptr : &*found;
  }

  std::optional<std::string> optional_text(std::string_view key) {
    const json* value = member(key);
    if (value == nullptr) return std::nullopt;
    if (value->is_string()) return value->get<std::string>();
    problem(key, "must be a string");
    return std::nullopt;
  }

  std::string required_text(std::string_view key) {
    auto value = optional_text(key);
    if (!value || value->empty()) problem(key, "is required");
    return value.value_or("");
  }

  std::int64_t integer(std::string_view key, std::int64_t preset, Range range) {
    const json* value = member(key);
    if (value == nullptr) return preset;
    const bool fine = value->is_number_integer() && value->get<std::int64_t>() >= range.least &&
                      value->get<std::int64_t>() <= range.most;
    if (fine) return value->get<std::int64_t>();
    problem(key, fmt::format("must be an integer from {} to {}", range.least, range.most));
    return preset;
  }

  Millis millis(std::string_view key, Millis preset) {
    return Millis(integer(key, preset.count(), {1, 86'400'000}));
  }

  std::vector<std::string> texts(std::string_view key) {
    std::vector<std::string> out;
    const json* value = member(key);
    if (value == nullptr) return out;
    if (!value->is_array()) problem(key, "must be a list of strings");
    for (const json& item : *value) {
      if (item.is_string())
        out.push_back(item.get<std::string>());
      else
        problem(key, "must hold only strings");
    }
    return out;
  }

  // Call last: whatever was not asked for is a mistake.
  void refuse_unknown() {
    if (!in_.is_object()) return;
    for (const auto& item : in_.items()) {
      if (!seen_.contains(item.key())) problem(item.key(), "unknown key; remove it");
    }
  }

 private:
  const json& in_;
  std::string path_;
  std::vector<std::string>& problems_;
  std::set<std::string, std::less<>> seen_;
};

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
  HealthSpec read_health(const json& in, const std::string& path);
  void read_routes(Reader& top);
  RouteSpec read_route(const json& in, const std::string& path);
  void check_template(Reader& reader, std::string_view path);
  void read_limits(const json* in);

  RouteSnapshot out_;
  std::vector<std::string> problems_;
};

HealthSpec SnapshotReader::read_health(const json& in, const std::string& path) {
  Reader reader(in, path, problems_);
  HealthSpec out;
  out.path = reader.optional_text("path").value_or(out.path);
  if (!out.path.starts_with('/')) reader.problem("path", "must start with /");
  out.host = reader.optional_text("host").value_or("");
  out.interval = reader.millis("interval_ms", out.interval);
  out.timeout = reader.millis("timeout_ms", out.timeout);
  out.rise = static_cast<int>(reader.integer("rise", out.rise, {1, 100}));
  out.fall = static_cast<int>(reader.integer("fall", out.fall, {1, 100}));
  reader.refuse_unknown();
  return out;
}

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
    item.refuse_unknown();
    if (!is_address(endpoint.address)) item.problem("address", "must be host:port or unix:/path");
    if (!addresses.insert(endpoint.address).second) item.problem("address", "is there twice");
    out.endpoints.push_back(std::move(endpoint));
  }
  if (const json* health = reader.member("health"))
    out.health = read_health(*health, path + ".health");
  reader.refuse_unknown();
  return out;
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
  out.to = reader.required_text("to");
  if (!out.to.empty() && !out_.backends.contains(out.to)) {
    reader.problem("to", fmt::format("no backend named '{}'", out.to));
  }
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
  LimitsSpec& out = out_.limits;
  out.head_ms = reader.millis("head_ms", out.head_ms);
  out.idle_ms = reader.millis("idle_ms", out.idle_ms);
  out.body_idle_ms = reader.millis("body_idle_ms", out.body_idle_ms);
  out.connect_ms = reader.millis("connect_ms", out.connect_ms);
  out.response_ms = reader.millis("response_ms", out.response_ms);
  out.stream_idle_ms = reader.millis("stream_idle_ms", out.stream_idle_ms);
  out.hold_wait_ms = reader.millis("hold_wait_ms", out.hold_wait_ms);
  out.drain_ms = reader.millis("drain_ms", out.drain_ms);
  out.retire_ms = reader.millis("retire_ms", out.retire_ms);
  out.head_bytes = reader.integer("head_bytes", out.head_bytes, {1024, 60 * 1024});
  out.body_bytes = reader.integer("body_bytes", out.body_bytes, {0, std::int64_t{1} << 50});
  out.connections = reader.integer("connections", out.connections, {1, 10'000'000});
  out.retries = reader.integer("retries", out.retries, {0, 10});
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
  out_.zone = top.optional_text("zone");
}

Result<RouteSnapshot> SnapshotReader::read(const json& in) {
  Reader top(in, "", problems_);
  if (in.is_object()) {
    read_top(top);
    read_backends(top.member("backends"));
    read_routes(top);
    read_limits(top.member("limits"));
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

json limits_json(const LimitsSpec& limits) {
  return {{"head_ms", limits.head_ms.count()},
          {"idle_ms", limits.idle_ms.count()},
          {"body_idle_ms", limits.body_idle_ms.count()},
          {"connect_ms", limits.connect_ms.count()},
          {"response_ms", limits.response_ms.count()},
          {"stream_idle_ms", limits.stream_idle_ms.count()},
          {"hold_wait_ms", limits.hold_wait_ms.count()},
          {"drain_ms", limits.drain_ms.count()},
          {"retire_ms", limits.retire_ms.count()},
          {"head_bytes", limits.head_bytes},
          {"body_bytes", limits.body_bytes},
          {"connections", limits.connections},
          {"retries", limits.retries}};
}

json backend_json(const BackendSpec& backend) {
  json out{{"endpoints", json::array()}};
  for (const EndpointSpec& endpoint : backend.endpoints) {
    out["endpoints"].push_back({{"address", endpoint.address}, {"zone", endpoint.zone}});
  }
  if (backend.health) {
    const HealthSpec& health = *backend.health;
    out["health"] = {{"path", health.path},
                     {"host", health.host},
                     {"interval_ms", health.interval.count()},
                     {"timeout_ms", health.timeout.count()},
                     {"rise", health.rise},
                     {"fall", health.fall}};
  }
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
           {"zone", or_null(zone)},
           {"backends", json::object()},
           {"routes", json::array()},
           {"limits", limits_json(limits)}};
  for (const auto& [name, backend] : backends) out["backends"][name] = backend_json(backend);
  for (const RouteSpec& route : routes) {
    out["routes"].push_back({{"id", route.id},
                             {"methods", route.methods},
                             {"host", or_null(route.host)},
                             {"path", route.path},
                             {"to", route.to}});
  }
  return out;
}

}  // namespace banyan::gateway
