#pragma once
// The small encodings S3 is made of: digests, hex, Base64, percent-encoding and its two date
// formats. Pure functions.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"
#include "base/hex.h"

struct evp_md_ctx_st;

namespace banyan::s3 {

// Takes content piece by piece; an error stops the flow.
using ByteSink = std::function<Result<void>(std::string_view)>;

enum class Slash : std::uint8_t { kKeep, kEncode };
// Everything but A-Z a-z 0-9 - _ . ~ (and, if kept, '/') becomes %XX.
std::string uri_encode(std::string_view text, Slash slash = Slash::kEncode);

std::string unhex(std::string_view text);  // empty when it is not hex
std::string base64(std::string_view bytes);
std::string base64_decode(std::string_view text);
std::string sha256(std::string_view bytes);
std::string md5(std::string_view bytes);
std::string hmac_sha256(std::string_view key, std::string_view message);
// Does not reveal by its duration where two secrets differ.
bool equal_secrets(std::string_view a, std::string_view b);

// A digest over content that arrives in pieces.
class Digest {
 public:
  enum class Kind : std::uint8_t { kMd5, kSha256 };
  explicit Digest(Kind kind);
  void update(std::string_view bytes);
  // The digest in bytes; starts over.
  std::string finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  Kind kind_;
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// "20130524T000000Z"
std::string amz_date(Wall time);
std::optional<Wall> parse_amz_date(std::string_view text);
// "Fri, 24 May 2013 00:00:00 GMT"
std::optional<Wall> parse_http_date(std::string_view text);
// "2013-05-24T00:00:00.000Z", as in listings.
std::string iso_date(std::int64_t unix_ms);
std::optional<std::int64_t> parse_iso_date(std::string_view text);

}  // namespace banyan::s3
