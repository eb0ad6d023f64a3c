#include "spec/json_reader.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace banyan::spec {

using nlohmann::json;

JsonReader::JsonReader(const json& in, std::string path, std::vector<std::string>& problems)
    : in_(in), path_(std::move(path)), problems_(problems) {
  if (!in_.is_object()) problem("", "must be an object");
}

std::string JsonReader::name(std::string_view key) const {
  return path_.empty() ? std::string(key) : fmt::format("{}.{}", path_, key);
}

void JsonReader::problem(std::string_view key, std::string_view what) {
  const std::string at = key.empty() ? path_ : name(key);
  problems_.push_back(fmt::format("{}: {}", at.empty() ? "snapshot" : at, what));
}

const json* JsonReader::member(std::string_view key) {
  seen_.insert(std::string(key));
  if (!in_.is_object()) return nullptr;
  const auto found = in_.find(key);
  return found == in_.end() || found->is_null() ? nullptr : &*found;
}

std::optional<std::string> JsonReader::optional_text(std::string_view key) {
  const json* value = member(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  problem(key, "must be a string");
  return std::nullopt;
}

std::string JsonReader::required_text(std::string_view key) {
  auto value = optional_text(key);
  if (!value || value->empty()) problem(key, "is required");
  return value.value_or("");
}

std::int64_t JsonReader::integer(std::string_view key, std::int64_t preset, Range range) {
  const json* value = member(key);
  if (value == nullptr) return preset;
  const bool fine = value->is_number_integer() && value->get<std::int64_t>() >= range.min &&
                    value->get<std::int64_t>() <= range.max;
  if (fine) return value->get<std::int64_t>();
  problem(key, fmt::format("must be an integer from {} to {}", range.min, range.max));
  return preset;
}

Millis JsonReader::millis(std::string_view key, Millis preset) {
  return Millis(integer(key, preset.count(), {1, 86'400'000}));
}

std::vector<std::string> JsonReader::texts(std::string_view key) {
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

void JsonReader::refuse_unknown() {
  if (!in_.is_object()) return;
  for (const auto& item : in_.items()) {
    if (!seen_.contains(item.key())) problem(item.key(), "unknown key; remove it");
  }
}

void JsonReader::text(const Setting& setting, std::string& value) {
  if (auto text = optional_text(setting.key)) value = *std::move(text);
  if (setting.need == Need::kRequired && value.empty()) problem(setting.key, "is required");
}

void JsonReader::optional_text(const Setting& setting, std::optional<std::string>& value) {
  value = optional_text(setting.key);
}

void JsonReader::texts(const Setting& setting, std::vector<std::string>& value) {
  value = texts(setting.key);
}

void JsonReader::words(const Setting& setting, std::vector<std::string>& value) {
  if (auto given = texts(setting.key); !given.empty()) value = std::move(given);
}

void JsonReader::integer(const Setting& setting, Range range, int& value) {
  value = static_cast<int>(integer(setting.key, value, range));
}

void JsonReader::optional_integer(const Setting& setting, Range range, std::optional<int>& value) {
  if (member(setting.key) != nullptr) integer(setting, range, value.emplace(0));
}

void JsonReader::size(const Setting& setting, Range range, std::int64_t& value) {
  value = integer(setting.key, value, range);
}

void JsonReader::duration(const Setting& setting, Range range, Millis& value) {
  value = Millis(integer(setting.key, value.count(), range));
}

void JsonReader::optional_duration(const Setting& setting, Range range,
                                   std::optional<Millis>& value) {
  if (member(setting.key) != nullptr) duration(setting, range, value.emplace(0));
}

void JsonReader::flag(const Setting& setting, bool& value) {
  const json* in = member(setting.key);
  if (in == nullptr) return;
  if (!in->is_boolean()) return problem(setting.key, "must be true or false");
  value = in->get<bool>();
}

void JsonReader::choice(const Setting& setting, const std::vector<std::string>& choices,
                        std::string& value) {
  value = optional_text(setting.key).value_or(choices.front());
  if (std::ranges::find(choices, value) == choices.end())
    problem(setting.key, fmt::format("must be one of {}", fmt::join(choices, ", ")));
}

void JsonReader::pairs(const Setting& setting, std::vector<NameValue>& value) {
  const json* in = member(setting.key);
  if (in == nullptr) return;
  const auto is_pair = [](const json& item) {
    return item.is_array() && item.size() == 2 && item[0].is_string() && item[1].is_string();
  };
  if (!in->is_array() || !std::ranges::all_of(*in, is_pair))
    return problem(setting.key, "must be a list of [name, value]");
  for (const json& item : *in) value.push_back({item[0], item[1]});
}

void JsonReader::weights(const Setting& setting, std::vector<Weight>& value) {
  const json* in = member(setting.key);
  if (in == nullptr) return;
  const auto is_weight = [](const json& item) {
    return item.is_array() && item.size() == 2 && item[0].is_string() &&
           item[1].is_number_integer() && item[1].get<std::int64_t>() >= 0 &&
           item[1].get<std::int64_t>() <= kWeightMax;
  };
  if (!in->is_array() || !std::ranges::all_of(*in, is_weight))
    return problem(setting.key, "must be a list of [backend, share from 0 to 1000000]");
  for (const json& item : *in) value.push_back({item[0], item[1].get<int>()});
}

void JsonReader::check(bool holds, std::string_view key, const std::string& what,
                       const std::string&) {
  if (!holds) problem(key, what);
}

void JsonWriter::pairs(const Setting& setting, const std::vector<NameValue>& value) {
  for (const NameValue& pair : value)
    out_[setting.key].push_back(Json::array({pair.name, pair.value}));
}

void JsonWriter::weights(const Setting& setting, const std::vector<Weight>& value) {
  for (const Weight& weight : value)
    out_[setting.key].push_back(Json::array({weight.to, weight.share}));
}

}  // namespace banyan::spec
