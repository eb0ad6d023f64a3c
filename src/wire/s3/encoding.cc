#include "wire/s3/encoding.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <ctime>

namespace banyan::s3 {
namespace {

bool is_unreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.' || c == '~';
}

const EVP_MD* algorithm(Digest::Kind kind) {
  return kind == Digest::Kind::kMd5 ? EVP_md5() : EVP_sha256();
}

std::string digest_of(Digest::Kind kind, std::string_view bytes) {
  Digest digest(kind);
  digest.update(bytes);
  return digest.finish();
}

std::string formatted(Wall time, const char* format) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(
      std::chrono::time_point_cast<std::chrono::system_clock::duration>(time));
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  return {text.data(), std::strftime(text.data(), text.size(), format, &parts)};
}

std::optional<std::time_t> parsed(std::string_view text, const char* format) {
  const std::string copy(text);
  std::tm parts{};
  if (::strptime(copy.c_str(), format, &parts) == nullptr) return std::nullopt;
  return timegm(&parts);
}

// Nothing for the years that nanoseconds since 1970 do not reach.
std::optional<Wall> wall_of(std::time_t seconds) {
  const auto most = std::chrono::floor<std::chrono::seconds>(Wall::max()).time_since_epoch();
  if (std::abs(seconds) >= most.count()) return std::nullopt;
  return Wall(std::chrono::seconds(seconds));
}

}  // namespace

std::string uri_encode(std::string_view text, Slash slash) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  for (const char c : text) {
    if (is_unreserved(c) || (c == '/' && slash == Slash::kKeep)) {
      out += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    out += '%';
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::string unhex(std::string_view text) {
  std::string out;
  if (text.size() % 2 != 0) return out;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = hex_value(text[i]);
    const int low = hex_value(text[i + 1]);
    if (high < 0 || low < 0) return {};
    out += static_cast<char>((high << 4) | low);
  }
  return out;
}

std::string base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4, '\0');
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                  reinterpret_cast<const unsigned char*>(bytes.data()),
                  static_cast<int>(bytes.size()));
  return out;
}

std::string base64_decode(std::string_view text) {
  std::string out(text.size() / 4 * 3 + 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  if (size < 0) return {};
  std::size_t padding = 0;
  while (padding < text.size() && text[text.size() - 1 - padding] == '=') padding++;
  out.resize(static_cast<std::size_t>(size) - std::min<std::size_t>(padding, 2));
  return out;
}

std::string sha256(std::string_view bytes) {
  return digest_of(Digest::Kind::kSha256, bytes);
}
std::string md5(std::string_view bytes) {
  return digest_of(Digest::Kind::kMd5, bytes);
}

std::string hmac_sha256(std::string_view key, std::string_view message) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
       reinterpret_cast<const unsigned char*>(message.data()), message.size(), out.data(), &size);
  return {reinterpret_cast<const char*>(out.data()), size};
}

bool equal_secrets(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void Digest::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

Digest::Digest(Kind kind) : kind_(kind), context_(EVP_MD_CTX_new()) {
  EVP_DigestInit_ex(context_.get(), algorithm(kind_), nullptr);
}

void Digest::update(std::string_view bytes) {
  EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size());
}

std::string Digest::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
  unsigned int size = 0;
  EVP_DigestFinal_ex(context_.get(), out.data(), &size);
  EVP_DigestInit_ex(context_.get(), algorithm(kind_), nullptr);
  return {reinterpret_cast<const char*>(out.data()), size};
}

std::string amz_date(Wall time) {
  return formatted(time, "%Y%m%dT%H%M%SZ");
}

std::optional<Wall> parse_amz_date(std::string_view text) {
  if (text.size() != 16) return std::nullopt;
  return parsed(text, "%Y%m%dT%H%M%SZ").and_then(wall_of);
}
std::optional<Wall> parse_http_date(std::string_view text) {
  return parsed(text, "%a, %d %b %Y %H:%M:%S GMT").and_then(wall_of);
}

std::string iso_date(std::int64_t unix_ms) {
  const Wall time{std::chrono::milliseconds(unix_ms)};
  return formatted(time, "%Y-%m-%dT%H:%M:%S") + fmt::format(".{:03}Z", unix_ms % 1000);
}
std::optional<std::int64_t> parse_iso_date(std::string_view text) {
  const auto seconds = parsed(text, "%Y-%m-%dT%H:%M:%S");
  if (!seconds) return std::nullopt;
  std::int64_t ms = 0;
  if (text.size() >= 23 && text[19] == '.') ms = std::atoi(std::string(text.substr(20, 3)).c_str());
  return *seconds * 1000 + ms;
}

}  // namespace banyan::s3
