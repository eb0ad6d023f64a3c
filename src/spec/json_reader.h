#pragma once
// JsonReader: typed members of one JSON object. Gathers what is wrong, each with its path
// ("routes[3].to: is required"), instead of stopping. JsonWriter: the inverse.
// Borrowed: the JSON and the problems outlive the reader. Any JSON is acceptable input.

#include <chrono>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "spec/reader.h"
#include "spec/traffic.h"

namespace banyan::spec {

class JsonReader {
 public:
  using Json = nlohmann::json;
  JsonReader(const Json& in, std::string path, std::vector<std::string>& problems);

  void problem(std::string_view key, std::string_view what);
  // Null when absent, null or not an object.
  const Json* member(std::string_view key);
  std::optional<std::string> optional_text(std::string_view key);
  std::string required_text(std::string_view key);
  std::int64_t integer(std::string_view key, std::int64_t preset, Range range);
  Millis millis(std::string_view key, Millis preset);
  std::vector<std::string> texts(std::string_view key);
  // Call last: whatever was not asked for is a mistake.
  void refuse_unknown();

  // The calls of traffic_fields.h.
  void text(const Setting& setting, std::string& value);
  void optional_text(const Setting& setting, std::optional<std::string>& value);
  void texts(const Setting& setting, std::vector<std::string>& value);
  void words(const Setting& setting, std::vector<std::string>& value);
  void integer(const Setting& setting, Range range, int& value);
  void optional_integer(const Setting& setting, Range range, std::optional<int>& value);
  void size(const Setting& setting, Range range, std::int64_t& value);
  void count(const Setting& setting, Range range, std::int64_t& value) {
    size(setting, range, value);
  }
  void duration(const Setting& setting, Range range, Millis& value);
  void optional_duration(const Setting& setting, Range range, std::optional<Millis>& value);
  void flag(const Setting& setting, bool& value);
  void choice(const Setting& setting, const std::vector<std::string>& choices, std::string& value);
  void pairs(const Setting& setting, std::vector<NameValue>& value);
  void weights(const Setting& setting, std::vector<Weight>& value);
  void check(bool holds, std::string_view key, const std::string& what, const std::string& do_this);
  template <class T>
  void group(const Setting& setting, T& value) {
    const Json* const in = member(setting.key);
    if (in == nullptr) return;
    JsonReader inner(*in, name(setting.key), problems_);
    describe(inner, value);
    inner.refuse_unknown();
  }
  template <class T>
  void group(const Setting& setting, std::optional<T>& value) {
    if (member(setting.key) != nullptr) group(setting, value.emplace());
  }

 private:
  std::string name(std::string_view key) const;

  const Json& in_;
  std::string path_;
  std::vector<std::string>& problems_;
  std::set<std::string, std::less<>> seen_;
};

// Leaves out what is not set: optionals, empty lists and texts, groups equal to their default.
class JsonWriter {
 public:
  using Json = nlohmann::json;
  explicit JsonWriter(Json& out) : out_(out) {}

  void text(const Setting& setting, const std::string& value) {
    put(setting, value, value.empty());
  }
  void optional_text(const Setting& setting, const std::optional<std::string>& value) {
    if (value) out_[setting.key] = *value;
  }
  void texts(const Setting& setting, const std::vector<std::string>& value) {
    put(setting, value, value.empty());
  }
  void words(const Setting& setting, const std::vector<std::string>& value) {
    texts(setting, value);
  }
  void integer(const Setting& setting, Range, int value) { out_[setting.key] = value; }
  void optional_integer(const Setting& setting, Range, const std::optional<int>& value) {
    if (value) out_[setting.key] = *value;
  }
  void size(const Setting& setting, Range, std::int64_t value) { out_[setting.key] = value; }
  void count(const Setting& setting, Range, std::int64_t value) { out_[setting.key] = value; }
  void duration(const Setting& setting, Range, Millis value) { out_[setting.key] = value.count(); }
  void optional_duration(const Setting& setting, Range, const std::optional<Millis>& value) {
    if (value) out_[setting.key] = value->count();
  }
  void flag(const Setting& setting, bool value) { put(setting, value, !value); }
  void choice(const Setting& setting, const std::vector<std::string>& choices,
              const std::string& value) {
    put(setting, value, value == choices.front());
  }
  void pairs(const Setting& setting, const std::vector<NameValue>& value);
  void weights(const Setting& setting, const std::vector<Weight>& value);
  void check(bool, std::string_view, const std::string&, const std::string&) {}
  template <class T>
  void group(const Setting& setting, T& value) {
    if (value == T{}) return;
    Json inner = Json::object();
    JsonWriter writer(inner);
    describe(writer, value);
    out_[setting.key] = std::move(inner);
  }
  template <class T>
  void group(const Setting& setting, std::optional<T>& value) {
    if (!value) return;
    Json inner = Json::object();
    JsonWriter writer(inner);
    describe(writer, *value);
    out_[setting.key] = std::move(inner);
  }

 private:
  template <class T>
  void put(const Setting& setting, const T& value, bool is_default) {
    if (!is_default) out_[setting.key] = value;
  }
  Json& out_;
};

}  // namespace banyan::spec
