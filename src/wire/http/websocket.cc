#include "wire/http/websocket.h"

#include <algorithm>

namespace banyan::http {
namespace {

constexpr unsigned char kFinal = 0x80;
constexpr unsigned char kMasked = 0x80;
constexpr unsigned char kClose = 0x8;
constexpr unsigned kTwoByteLength = 126;
constexpr unsigned kEightByteLength = 127;
constexpr std::uint8_t kMaskBytes = 4;

std::uint8_t length_bytes(unsigned char length) {
  if (length == kTwoByteLength) return 2;
  return length == kEightByteLength ? 8 : 0;
}

}  // namespace

std::size_t WebSocketFollower::take(std::string_view bytes, Stop stop) {
  std::size_t at = 0;
  while (at < bytes.size() && !malformed_) {
    if (payload_left_ > 0) {
      const auto step = std::min<std::uint64_t>(payload_left_, bytes.size() - at);
      at += static_cast<std::size_t>(step);
      payload_left_ -= step;
      if (payload_left_ == 0) finish_frame();
    } else {
      take_head_byte(static_cast<unsigned char>(bytes[at++]));
    }
    if (stop == Stop::kAtFrameEnd && at_boundary()) return at;
  }
  return bytes.size();
}

void WebSocketFollower::take_head_byte(unsigned char byte) {
  head_[head_bytes_++] = byte;
  if (head_bytes_ == 2) {
    const bool masked = (byte & kMasked) != 0;
    head_size_ = 2 + length_bytes(byte & ~kMasked) + (masked ? kMaskBytes : 0);
    malformed_ = masked != (sender_ == Sender::kClient) || closed_;
  }
  if (head_bytes_ >= 2 && head_bytes_ == head_size_) finish_head();
}

void WebSocketFollower::finish_head() {
  const unsigned char short_length = head_[1] & ~kMasked;
  const std::uint8_t wide = length_bytes(short_length);
  std::uint64_t length = wide == 0 ? short_length : 0;
  for (std::uint8_t i = 0; i < wide; ++i) length = length << 8 | head_[2 + i];
  const std::uint64_t least = wide == 8 ? 0x10000 : kTwoByteLength;
  const bool is_long_form = wide != 0 && length < least;
  const bool bad_control = is_control() && (wide != 0 || (head_[0] & kFinal) == 0);
  malformed_ |= is_long_form || bad_control || length >> 63 != 0;
  head_bytes_ = 0;
  payload_left_ = malformed_ ? 0 : length;
  if (payload_left_ == 0) finish_frame();
}

void WebSocketFollower::finish_frame() {
  closed_ |= !malformed_ && (head_[0] & 0x0f) == kClose;
}

std::string close_frame(int code) {
  return {static_cast<char>(kFinal | kClose), 2, static_cast<char>(code >> 8),
          static_cast<char>(code)};
}

std::string masked_close_frame(int code, std::uint32_t mask) {
  std::string out = close_frame(code);
  out[1] = static_cast<char>(kMasked | 2);
  char key[kMaskBytes];
  for (int i = 0; i < kMaskBytes; ++i) key[i] = static_cast<char>(mask >> (8 * i));
  for (int i = 0; i < 2; ++i) out[2 + i] = static_cast<char>(out[2 + i] ^ key[i]);
  return out.insert(2, key, kMaskBytes);
}

}  // namespace banyan::http
