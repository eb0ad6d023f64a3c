#include "spec/spec_yaml.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "spec/traffic_fields.h"
#include "spec/value.h"

namespace banyan::spec {
namespace {

using Json = nlohmann::ordered_json;

// The calls of traffic_fields.h. Leaves out what is as by default.
class YamlWriter {
 public:
  explicit YamlWriter(Json& out) : out_(out) {}

  void text(const Setting& setting, const std::string& value) {
    if (!value.empty()) put(setting, value);
  }
  void optional_text(const Setting& setting, const std::optional<std::string>& value) {
    if (value) put(setting, *value);
  }
  void texts(const Setting& setting, const std::vector<std::string>& value) {
    if (!value.empty()) put(setting, value);
  }
  void words(const Setting& setting, const std::vector<std::string>& value) {
    texts(setting, value);
  }
  void integer(const Setting& setting, Range, int value) { put(setting, value); }
  void optional_integer(const Setting& setting, Range, const std::optional<int>& value) {
    if (value) put(setting, *value);
  }
  void count(const Setting& setting, Range, std::int64_t value) { put(setting, value); }
  void size(const Setting& setting, Range, std::int64_t value) { put(setting, value); }
  void duration(const Setting& setting, Range, Millis value) {
    put(setting, fmt::format("{}ms", value.count()));
  }
  void optional_duration(const Setting& setting, Range range, const std::optional<Millis>& value) {
    if (value) duration(setting, range, *value);
  }
  void flag(const Setting& setting, bool value) {
    if (value) put(setting, value);
  }
  void choice(const Setting& setting, const std::vector<std::string>& choices,
              const std::string& value) {
    if (value != choices.front()) put(setting, value);
  }
  void pairs(const Setting& setting, const std::vector<NameValue>& value) {
    for (const NameValue& pair : value) out_[std::string(setting.key)][pair.name] = pair.value;
  }
  void weights(const Setting& setting, const std::vector<Weight>& value) {
    for (const Weight& weight : value) out_[std::string(setting.key)][weight.to] = weight.share;
  }
  void check(bool, std::string_view, const std::string&, const std::string&) {}
  // Only what differs from the default's members, so that the text stays short.
  template <class T>
  void group(const Setting& setting, T& value) {
    T preset{};
    if (value == preset) return;
    Json inner = members(value);
    const Json other = members(preset);
    for (const auto& [key, member] : other.items())
      if (inner.contains(key) && inner[key] == member) inner.erase(key);
    put(setting, std::move(inner));
  }
  template <class T>
  void group(const Setting& setting, std::optional<T>& value) {
    if (value) put(setting, members(*value));
  }

  template <class T>
  static Json members(T value) {
    Json out = Json::object();
    YamlWriter writer(out);
    describe(writer, value);
    return out;
  }

 private:
  void put(const Setting& setting, Json value) {
    out_[std::string(setting.key)] = std::move(value);
  }
  Json& out_;
};

bool is_plain_key(const std::string& key) {
  return !key.empty() &&
         std::ranges::all_of(key, [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; });
}

// YAML is UTF-8: what is not shows as U+FFFD.
std::string scalar(const Json& value) {
  return value.dump(-1, ' ', true, Json::error_handler_t::replace);
}

void put_flow(const Json& value, std::string& out) {
  const char* separator = "";
  if (value.is_object()) {
    out += "{ ";
    for (const auto& [key, member] : value.items()) {
      out += separator + (is_plain_key(key) ? key : scalar(key)) + ": ";
      put_flow(member, out);
      separator = ", ";
    }
    out += " }";
  } else if (value.is_array()) {
    out += "[";
    for (const Json& item : value) {
      out += separator;
      put_flow(item, out);
      separator = ", ";
    }
    out += "]";
  } else {
    out += scalar(value);
  }
}

Json match_of(const Route& route) {
  if (!route.host && route.rules.when.empty()) return RouteMatch{route.methods, route.path}.id();
  Json out = {{"path", route.path}};
  if (!route.methods.empty()) out["methods"] = route.methods;
  if (route.host) out["host"] = *route.host;
  out.update(YamlWriter::members(route.rules.when));
  return out;
}

}  // namespace

std::string yaml_of(const Route& route) {
  Json out = {{"match", match_of(route)}};
  if (!route.to.empty()) out["to"] = route.to;
  out.update(YamlWriter::members(route.rules));
  std::string text;
  put_flow(out, text);
  return text;
}

std::string yaml_of(const Service& service) {
  Json out = {{"endpoints", Json::array()}};
  for (const ServiceEndpoint& endpoint : service.endpoints) {
    Json one = {{"address", endpoint.address}};
    if (!endpoint.zone.empty()) one["zone"] = endpoint.zone;
    if (endpoint.weight != 1) one["weight"] = endpoint.weight;
    if (endpoint.backup) one["backup"] = true;
    out["endpoints"].push_back(std::move(one));
  }
  if (service.checked) {
    out["health"] = {{"path", service.health.path}};
    if (service.health.host) out["health"]["host"] = *service.health.host;
  }
  Json traffic = YamlWriter::members(service.traffic);
  const Json preset = YamlWriter::members(Traffic{});
  for (const auto& [key, member] : preset.items())
    if (traffic.contains(key) && traffic[key] == member) traffic.erase(key);
  if (!traffic.empty()) out["traffic"] = std::move(traffic);
  std::string text;
  put_flow(out, text);
  return text;
}

}  // namespace banyan::spec
