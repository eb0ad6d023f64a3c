#pragma once
// YamlFields: the calls of traffic_fields.h on a Reader, so that one declaration serves the YAML,
// its JSON Schema, and the snapshot's JSON. Borrows the reader.

#include <string>
#include <string_view>
#include <vector>

#include "spec/reader.h"
#include "spec/traffic_fields.h"

namespace banyan::spec {

class YamlFields {
 public:
  explicit YamlFields(Reader& reader) : reader_(reader) {}

  void text(const Setting& setting, std::string& value) { value = reader_.text(setting, value); }
  void optional_text(const Setting& setting, std::optional<std::string>& value) {
    value = reader_.optional_text(setting);
  }
  void texts(const Setting& setting, std::vector<std::string>& value) {
    value = reader_.texts(setting);
  }
  void words(const Setting& setting, std::vector<std::string>& value) {
    if (auto given = reader_.words(setting); !given.empty()) value = std::move(given);
  }
  void integer(const Setting& setting, Range range, int& value) {
    value = reader_.integer(setting, range, value);
  }
  void optional_integer(const Setting& setting, Range range, std::optional<int>& value) {
    value = reader_.optional_integer(setting, range);
  }
  void count(const Setting& setting, Range range, std::int64_t& value) {
    value = reader_.integer(setting, range, static_cast<int>(value));
  }
  void size(const Setting& setting, Range range, std::int64_t& value) {
    value = reader_.size(setting, range, value);
  }
  void duration(const Setting& setting, Range range, Millis& value) {
    value = reader_.duration(setting, range, value);
  }
  void optional_duration(const Setting& setting, Range range, std::optional<Millis>& value) {
    value = reader_.optional_duration(setting, range);
  }
  void flag(const Setting& setting, bool& value) { value = reader_.flag(setting); }
  void choice(const Setting& setting, const std::vector<std::string>& choices, std::string& value) {
    value = reader_.choice(setting, choices);
  }
  void pairs(const Setting& setting, std::vector<NameValue>& value) {
    for (const Entry& entry : reader_.pairs(setting))
      value.push_back({entry.key, entry.value.text});
  }
  void weights(const Setting& setting, std::vector<Weight>& value) {
    for (const auto& [to, share] : reader_.numbers(setting, {0, kWeightMax}))
      value.push_back({to, share});
  }
  void check(bool holds, std::string_view key, const std::string& what,
             const std::string& do_this) {
    if (!holds) reader_.problem("BY-0313", key, what, do_this);
  }
  template <class T>
  void group(const Setting& setting, T& value) {
    reader_.mapping(setting, [&](Reader& inner) {
      YamlFields fields(inner);
      describe(fields, value);
    });
  }
  template <class T>
  void group(const Setting& setting, std::optional<T>& value) {
    T read;
    const bool given = reader_.mapping(setting, [&](Reader& inner) {
      YamlFields fields(inner);
      describe(fields, read);
    });
    if (given) value = std::move(read);
  }

 private:
  Reader& reader_;
};

}  // namespace banyan::spec
