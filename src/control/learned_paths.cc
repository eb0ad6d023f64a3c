#include "control/learned_paths.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

namespace banyan::control {
namespace {

using nlohmann::json;

constexpr std::size_t kSecretBytesMin = 16;
constexpr auto kActs = std::to_array<std::string_view>(
    {"logout", "log-out", "log_out", "signout", "sign-out", "delete", "remove", "destroy",
     "unsubscribe", "confirm", "activate", "verify", "reset", "approve", "cancel", "export"});

struct Shape {
  std::string newest;  // path
  std::size_t count = 0;
};

template <class Fn>
void each_part(std::string_view path, Fn&& fn) {
  while (!path.empty()) {
    const auto slash = path.find('/');
    fn(path.substr(0, slash));
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
}

std::size_t digits_in(std::string_view part) {
  return static_cast<std::size_t>(
      std::ranges::count_if(part, [](unsigned char c) { return std::isdigit(c) != 0; }));
}

bool looks_secret(std::string_view part) {
  const auto digits = digits_in(part);
  return part.size() >= kSecretBytesMin && digits > 0 && digits < part.size() &&
         part.find('.') == std::string_view::npos;
}

bool is_safe(std::string_view path) {
  std::string lower(path);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  if (std::ranges::any_of(kActs, [&](auto act) { return lower.contains(act); })) return false;
  bool safe = path.starts_with('/');
  each_part(path, [&](std::string_view part) { safe = safe && !looks_secret(part); });
  return safe;
}

std::string shape_of(std::string_view path) {
  std::string shape;
  each_part(path, [&](std::string_view part) {
    shape += digits_in(part) > 0 ? ":" : std::string(part);
    shape += '/';
  });
  return shape;
}

// The path of a line that may be asked for again; "" otherwise.
std::string path_in(std::string_view line, std::string_view old_address) {
  const json entry = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!entry.is_object() || entry.value("method", "") != "GET") return "";
  if (entry.value("upstream", "") != old_address || entry.value("status", 500) >= 500) return "";
  std::string path = entry.value("path", "");
  return is_safe(path) ? path : "";
}

}  // namespace

std::vector<std::string> learned_paths(std::string_view log, std::string_view old_address,
                                       std::size_t most) {
  std::map<std::string, Shape> shapes;
  while (!log.empty()) {
    const auto end = log.find('\n');
    if (std::string path = path_in(log.substr(0, end), old_address); !path.empty()) {
      Shape& shape = shapes[shape_of(path)];
      shape.newest = std::move(path);
      ++shape.count;
    }
    log.remove_prefix(end == std::string_view::npos ? log.size() : end + 1);
  }
  std::vector<Shape> ordered;
  for (auto& [ignored, shape] : shapes) ordered.push_back(std::move(shape));
  std::ranges::sort(ordered, [](const Shape& a, const Shape& b) {
    return std::tie(b.count, a.newest) < std::tie(a.count, b.newest);
  });
  std::vector<std::string> paths;
  for (Shape& shape : ordered)
    if (paths.size() < most) paths.push_back(std::move(shape.newest));
  return paths;
}

}  // namespace banyan::control
