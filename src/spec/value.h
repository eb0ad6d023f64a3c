#pragma once
// The small languages inside banyan.yaml: durations, sizes, addresses, route matches. Pure
// functions.

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace banyan::spec {

// "500ms", "2s", "10m", "1h", "1d", and sums in falling units: "1m30s".
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text);
// Bytes: "512", "10KB" (1000), "10KiB" (1024), and M, G, T of both.
std::optional<std::int64_t> parse_size(std::string_view text);
// Whole, within 64 bits, in decimal, 0x or 0o.
std::optional<std::int64_t> parse_integer(std::string_view text);

// "127.0.0.1:8080", "localhost:8080", "[::1]:8080".
struct Address {
  std::string host;  // without brackets
  int port = 0;
};
std::optional<Address> parse_address(std::string_view text);

// "GET /progress/:userId", "GET,HEAD /a/*", "/*".
struct RouteMatch {
  std::vector<std::string> methods;
  std::string path;
  std::string id() const;  // the match in one spelling
};
std::optional<RouteMatch> parse_match(std::string_view text);

// A URL with a password in it: "postgresql://user:pw@host/db".
bool has_password(std::string_view url);
// Does a variable of this name usually hold a secret?
bool names_a_secret(std::string_view variable);

std::size_t edit_distance(std::string_view a, std::string_view b);
// The known word a misspelt one most probably meant; empty when none is near.
std::string_view nearest(std::string_view word, std::span<const std::string> known);

}  // namespace banyan::spec
