#include "planes/gateway/cohort.h"

#include <nlohmann/json.hpp>
#include <numeric>

#include "planes/gateway/cookie.h"
#include "spec/cidr.h"
#include "wire/http/text.h"

namespace banyan::gateway {
namespace {

constexpr std::size_t kTokenMax = 16 * 1024;
constexpr std::string_view kBearer = "bearer ";

void add(std::uint32_t& hash, std::string_view bytes) {
  for (const char c : bytes) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 16777619U;
  }
}

int sextet(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '-') return 62;
  return c == '_' ? 63 : -1;
}

// base64url without padding (RFC 4648 section 5).
std::optional<std::string> base64url_decoded(std::string_view text) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const int value = sextet(c);
    if (value < 0) return std::nullopt;
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>((bits >> count) & 0xff);
  }
  return out;
}

const http::Field* find_field(const RequestFacts& facts, std::string_view name) {
  for (const http::Field& field : facts.fields) {
    if (field.name.size() != name.size()) continue;
    bool same = true;
    for (std::size_t i = 0; i < name.size() && same; ++i)
      same = std::tolower(static_cast<unsigned char>(field.name[i])) ==
             std::tolower(static_cast<unsigned char>(name[i]));
    if (same) return &field;
  }
  return nullptr;
}

std::optional<std::string> non_empty(std::string_view text) {
  if (text.empty()) return std::nullopt;
  return std::string(text);
}

}  // namespace

std::uint32_t cohort_hash(std::string_view salt, std::string_view side, std::string_view key) {
  std::uint32_t hash = 2166136261U;
  add(hash, salt);
  add(hash, std::string_view("\0", 1));
  add(hash, side);
  add(hash, std::string_view("\0", 1));
  add(hash, key);
  hash ^= hash >> 16;
  hash *= 0x85ebca6bU;
  hash ^= hash >> 13;
  hash *= 0xc2b2ae35U;
  return hash ^ (hash >> 16);
}

std::optional<std::string> unverified_claim(std::string_view authorization,
                                            std::string_view claim) {
  if (authorization.size() <= kBearer.size() || authorization.size() > kTokenMax)
    return std::nullopt;
  if (!http::equals_lower(authorization.substr(0, kBearer.size()), kBearer)) return std::nullopt;
  const std::size_t first = authorization.find('.');
  if (first == std::string_view::npos) return std::nullopt;
  const std::size_t second = authorization.find('.', first + 1);
  if (second == std::string_view::npos) return std::nullopt;
  const auto payload = base64url_decoded(authorization.substr(first + 1, second - first - 1));
  if (!payload) return std::nullopt;
  const auto claims = nlohmann::json::parse(*payload, nullptr, false);
  if (!claims.is_object()) return std::nullopt;
  const auto found = claims.find(claim);
  if (found == claims.end() || found->is_null() || found->is_structured()) return std::nullopt;
  return non_empty(found->is_string() ? found->get<std::string>() : found->dump());
}

std::optional<std::string> client_key(const spec::ClientKey& rule, const RequestFacts& facts) {
  if (rule.by == "cookie") {
    const auto value = find_cookie(facts.fields, rule.name);
    return value ? non_empty(*value) : std::nullopt;
  }
  if (rule.by == "header") {
    const http::Field* field = find_field(facts, rule.name);
    return field == nullptr ? std::nullopt : non_empty(field->value);
  }
  if (rule.by == "claim") {
    const http::Field* field = find_field(facts, "authorization");
    return field == nullptr ? std::nullopt : unverified_claim(field->value, rule.name);
  }
  const auto address = spec::parse_ip(facts.client_ip);
  if (!address) return non_empty(facts.client_ip);
  const spec::IpBytes block = spec::client_block(*address);
  return std::string(reinterpret_cast<const char*>(block.data()), block.size());
}

// Each side in turn claims its share of what the sides before it left.
std::size_t side_of(std::span<const spec::Weight> sides, std::string_view salt,
                    const std::optional<std::string>& key) {
  if (!key || sides.size() < 2) return 0;
  std::int64_t left = 0;
  for (const spec::Weight& side : sides) left += side.share;
  for (std::size_t i = 1; i < sides.size() && left > 0; ++i) {
    const auto line = static_cast<std::uint64_t>(sides[i].share) * (std::uint64_t{1} << 32) /
                      static_cast<std::uint64_t>(left);
    if (cohort_hash(salt, sides[i].to, *key) < line) return i;
    left -= sides[i].share;
  }
  return 0;
}

std::size_t random_side(std::span<const spec::Weight> sides, http::IdSource& ids) {
  std::uint64_t total = 0;
  for (const spec::Weight& side : sides) total += static_cast<std::uint64_t>(side.share);
  if (total == 0) return 0;
  std::uint64_t at = (ids.next() >> 16) % total;
  for (std::size_t i = 0; i < sides.size(); ++i) {
    const auto share = static_cast<std::uint64_t>(sides[i].share);
    if (at < share) return i;
    at -= share;
  }
  return 0;
}

}  // namespace banyan::gateway
