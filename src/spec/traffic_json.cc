#include "spec/traffic_json.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "spec/traffic_fields.h"

namespace banyan::spec {
namespace {

template <class T>
void write_members(const T& value, nlohmann::json& out) {
  T copy = value;  // `describe` serves readers too
  JsonWriter writer(out);
  describe(writer, copy);
}

}  // namespace

bool is_field_name(std::string_view name) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !name.empty() && std::ranges::all_of(name, [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           kMarks.find(c) != std::string_view::npos;
  });
}

bool is_framing_field(std::string_view name) {
  static constexpr std::array<std::string_view, 10> kFraming = {
      "connection", "content-length",    "expect",  "host", "keep-alive", "te",
      "trailer",    "transfer-encoding", "upgrade", "via"};
  std::string lower(name);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  return std::ranges::find(kFraming, lower) != kFraming.end();
}

bool is_field_value(std::string_view value) {
  return std::ranges::none_of(value, [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  });
}

std::optional<StatusRange> parse_status_range(std::string_view text) {
  const auto status = [](std::string_view digits) {
    int value = 0;
    const char* const end = digits.data() + digits.size();
    const auto parsed = std::from_chars(digits.data(), end, value);
    return parsed.ptr == end && value >= 100 && value <= 599 ? value : 0;
  };
  const auto dash = text.find('-');
  const StatusRange range{.first = status(text.substr(0, dash)),
                          .last = status(dash == text.npos ? text : text.substr(dash + 1))};
  if (range.first == 0 || range.last < range.first) return std::nullopt;
  return range;
}

void write(const RouteRules& rules, nlohmann::json& out) {
  write_members(rules, out);
  RouteWhen when = rules.when;
  JsonWriter(out).group({"when", ""}, when);
}

void read(JsonReader& in, RouteRules& rules) {
  describe(in, rules);
  in.group({"when", ""}, rules.when);
}

void write(const Health& health, nlohmann::json& out) {
  write_members(health, out);
}
void read(JsonReader& in, Health& health) {
  describe(in, health);
}
void write(const Traffic& traffic, nlohmann::json& out) {
  write_members(traffic, out);
}
void read(JsonReader& in, Traffic& traffic) {
  describe(in, traffic);
}
void write(const Limits& limits, nlohmann::json& out) {
  write_members(limits, out);
}
void read(JsonReader& in, Limits& limits) {
  describe(in, limits);
}

}  // namespace banyan::spec
