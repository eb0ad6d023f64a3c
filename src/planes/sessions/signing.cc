#include "planes/sessions/signing.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <zlib.h>

#include <array>

namespace banyan::sessions {
namespace {

constexpr std::string_view kSalt = "django.contrib.sessions.SessionStore";
constexpr std::size_t kSessionBytesMax = 16 << 20;
constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::string_view kBase62 =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

std::string encode_base64url(std::string_view bytes) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : bytes) {
    bits = bits << 8 | static_cast<unsigned char>(c);
    for (count += 8; count >= 6; count -= 6) out += kBase64[bits >> (count - 6) & 0x3F];
  }
  if (count > 0) out += kBase64[bits << (6 - count) & 0x3F];
  return out;
}

// Both alphabets, with or without padding.
Result<std::string> decode_base64(std::string_view text) {
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (char c : text) {
    if (c == '+') c = '-';
    if (c == '/') c = '_';
    const auto digit = kBase64.find(c);
    if (digit == std::string_view::npos) return failure(Code::kCorruption, "not base64");
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    out += static_cast<char>(bits >> count);
  }
  return out;
}

std::string base62(std::int64_t number) {
  std::string out;
  do out.insert(out.begin(), kBase62[number % 62]);
  while ((number /= 62) > 0);
  return out;
}

// django.utils.crypto.salted_hmac with SHA-256, in base64.
std::string signature_of(std::string_view signed_text, std::string_view secret_key) {
  const std::string salted = std::string(kSalt) + "signer" + std::string(secret_key);
  std::array<unsigned char, EVP_MAX_MD_SIZE> key;
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac;
  unsigned key_size = 0;
  unsigned mac_size = 0;
  EVP_Digest(salted.data(), salted.size(), key.data(), &key_size, EVP_sha256(), nullptr);
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key_size),
       reinterpret_cast<const unsigned char*>(signed_text.data()), signed_text.size(), mac.data(),
       &mac_size);
  return encode_base64url({reinterpret_cast<const char*>(mac.data()), mac_size});
}

std::string deflate_bytes(std::string_view bytes) {
  uLongf size = compressBound(bytes.size());
  std::string out(size, '\0');
  compress(reinterpret_cast<Bytef*>(out.data()), &size,
           reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
  out.resize(size);
  return out;
}

Result<Value> read_payload(std::string_view payload) {
  if (payload.starts_with('\x80')) return read_pickle(payload);
  return read_json(payload);
}

Result<Value> read_legacy(std::string_view session_data) {
  TRY(const std::string decoded, decode_base64(session_data));
  const auto colon = decoded.find(':');
  if (colon == std::string::npos) return failure(Code::kCorruption, "not a session of Django");
  return read_payload(std::string_view(decoded).substr(colon + 1));
}

}  // namespace

Result<std::string> inflate_bytes(std::string_view compressed) {
  z_stream stream = {};
  if (inflateInit(&stream) != Z_OK) return failure(Code::kInternal, "zlib does not start");
  const std::unique_ptr<z_stream, int (*)(z_streamp)> owned(&stream, inflateEnd);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(compressed.data()));
  stream.avail_in = static_cast<uInt>(compressed.size());
  std::string out;
  std::array<char, 16384> chunk;
  int state = Z_OK;
  while (state == Z_OK && out.size() <= kSessionBytesMax) {
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = chunk.size();
    state = inflate(&stream, Z_NO_FLUSH);
    out.append(chunk.data(), chunk.size() - stream.avail_out);
  }
  if (state != Z_STREAM_END) return failure(Code::kCorruption, "not a zlib stream of bounded size");
  return out;
}

Result<Value> unsign_session(std::string_view session_data, std::string_view secret_key) {
  const auto last = session_data.rfind(':');
  if (last == std::string_view::npos) return read_legacy(session_data);
  const auto middle = session_data.substr(0, last).rfind(':');
  if (middle == std::string_view::npos) return failure(Code::kCorruption, "no timestamp");
  if (!secret_key.empty() &&
      signature_of(session_data.substr(0, last), secret_key) != session_data.substr(last + 1))
    return failure(Code::kCorruption, "the signature was made with another SECRET_KEY");
  std::string_view payload = session_data.substr(0, middle);
  const bool compressed = payload.starts_with('.');
  if (compressed) payload.remove_prefix(1);
  TRY(std::string decoded, decode_base64(payload));
  if (compressed) {
    TRY(decoded, inflate_bytes(decoded));
  }
  return read_payload(decoded);
}

Result<std::string> sign_session(const Value& session, std::string_view secret_key, Wall now) {
  TRY(const std::string json, write_json(session));
  const std::string compressed = deflate_bytes(json);
  const bool smaller = compressed.size() + 1 < json.size();
  std::string text = smaller ? "." + encode_base64url(compressed) : encode_base64url(json);
  text += ":" +
          base62(std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count());
  return text + ":" + signature_of(text, secret_key);
}

}  // namespace banyan::sessions
