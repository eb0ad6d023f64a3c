#include "spec/value.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <numeric>
#include <utility>

namespace banyan::spec {
namespace {

constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();

// Takes leading digits off `text`. Nothing when there are none or they do not fit.
std::optional<std::int64_t> take_number(std::string_view& text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || text.starts_with('-')) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

std::string_view take_word(std::string_view& text) {
  const auto end = std::min(text.find_first_of("0123456789"), text.size());
  const auto word = text.substr(0, end);
  text.remove_prefix(end);
  return word;
}

std::optional<std::int64_t> times(std::int64_t a, std::int64_t b) {
  if (b != 0 && a > kMax / b) return std::nullopt;
  return a * b;
}

std::int64_t unit_ms(std::string_view unit) {
  if (unit == "ms") return 1;
  if (unit == "s") return 1'000;
  if (unit == "m") return 60'000;
  if (unit == "h") return 3'600'000;
  if (unit == "d") return 86'400'000;
  return 0;
}

std::int64_t unit_bytes(std::string_view unit) {
  if (unit.empty() || unit == "B") return 1;
  constexpr std::string_view kPrefixes = "KMGT";
  const auto power = kPrefixes.find(unit.front());
  const auto rest = unit.substr(1);
  if (power == std::string_view::npos || (rest != "B" && rest != "iB")) return 0;
  std::int64_t bytes = 1;
  for (std::size_t i = 0; i <= power; ++i) bytes *= rest == "B" ? 1000 : 1024;
  return bytes;
}

bool is_method(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= 'A' && c <= 'Z'; });
}

// Segments: literal, ":name", and "*" as the last one.
bool is_path_template(std::string_view path) {
  if (!path.starts_with('/') || path.find_first_of(" \t?#") != std::string_view::npos) return false;
  const auto star = path.find('*');
  if (star != std::string_view::npos && (star + 1 != path.size() || path[star - 1] != '/')) {
    return false;
  }
  return !path.ends_with("/:") && path.find("/:/") == std::string_view::npos;
}

std::optional<std::vector<std::string>> parse_methods(std::string_view text) {
  std::vector<std::string> methods;
  while (true) {
    const auto comma = text.find(',');
    const auto method = text.substr(0, comma);
    if (!is_method(method)) return std::nullopt;
    methods.emplace_back(method);
    if (comma == std::string_view::npos) return methods;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  if (text.empty()) return std::nullopt;
  std::int64_t total = 0;
  std::int64_t last_unit = kMax;
  while (!text.empty()) {
    const auto number = take_number(text);
    if (!number) return std::nullopt;
    const auto unit = unit_ms(take_word(text));
    if (unit == 0 || unit >= last_unit) return std::nullopt;
    last_unit = unit;
    const auto part = times(*number, unit);
    if (!part || *part > kMax - total) return std::nullopt;
    total += *part;
  }
  return std::chrono::milliseconds(total);
}

std::optional<std::int64_t> parse_size(std::string_view text) {
  const auto number = take_number(text);
  if (!number) return std::nullopt;
  const auto unit = unit_bytes(text);
  if (unit == 0) return std::nullopt;
  return times(*number, unit);
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x")) base = 16;
  if (text.starts_with("0o")) base = 8;
  if (base != 10) text.remove_prefix(2);
  if (text.starts_with('+')) text.remove_prefix(1);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<Address> parse_address(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return std::nullopt;
  auto host = text.substr(0, colon);
  const auto port = parse_integer(text.substr(colon + 1));
  if (!port || *port < 0 || *port > 65535) return std::nullopt;
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (!bracketed && host.find_first_of(":[] /") != std::string_view::npos) return std::nullopt;
  return Address{std::string(host), static_cast<int>(*port)};
}

std::string RouteMatch::id() const {
  std::string id;
  for (const auto& method : methods) id += (id.empty() ? "" : ",") + method;
  return id.empty() ? path : id + " " + path;
}

std::optional<RouteMatch> parse_match(std::string_view text) {
  RouteMatch match;
  if (const auto space = text.find(' '); space != std::string_view::npos) {
    auto methods = parse_methods(text.substr(0, space));
    if (!methods) return std::nullopt;
    match.methods = *std::move(methods);
    text.remove_prefix(std::min(text.find_first_not_of(' ', space), text.size()));
  }
  if (!is_path_template(text)) return std::nullopt;
  match.path = text;
  return match;
}

bool has_password(std::string_view url) {
  const auto scheme = url.find("://");
  if (scheme == std::string_view::npos) return false;
  auto authority = url.substr(scheme + 3);
  authority = authority.substr(0, authority.find_first_of("/?#"));
  const auto at = authority.rfind('@');
  const bool in_authority =
      at != std::string_view::npos && authority.substr(0, at).find(':') != std::string_view::npos;
  return in_authority || url.find("password=") != std::string_view::npos;
}

bool names_a_secret(std::string_view variable) {
  static constexpr std::array<std::string_view, 8> kEndings = {
      "SECRET", "SECRET_KEY", "SECRET_ACCESS_KEY", "PASSWORD",
      "PASSWD", "TOKEN",      "API_KEY",           "PRIVATE_KEY"};
  // Whole words only: PASSWORD_ITERATIONS and TOKENIZER are settings, not secrets.
  return std::ranges::any_of(kEndings, [&](std::string_view ending) {
    if (!variable.ends_with(ending)) return false;
    const auto before = variable.size() - ending.size();
    return before == 0 || variable[before - 1] == '_';
  });
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::vector<std::size_t> above(b.size() + 1);
  std::vector<std::size_t> two_above;  // for a swap of two neighbours
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    two_above = std::exchange(above, row);
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t changed = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, changed});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], two_above[j - 2] + 1);
    }
  }
  return row[b.size()];
}

std::string_view nearest(std::string_view word, std::span<const std::string> known) {
  std::string_view best;
  std::size_t best_distance = 1 + std::max<std::size_t>(1, word.size() / 3);
  for (const auto& candidate : known) {
    const auto distance = edit_distance(word.substr(0, 64), candidate);
    if (distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace banyan::spec
