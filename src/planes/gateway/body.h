#pragma once
// BodyFollower: where a body that streams past ends, whatever its framing. Sans-IO.

#include <cstdint>
#include <string>
#include <string_view>

#include "wire/http/chunked.h"
#include "wire/http/http1_parser.h"

namespace banyan::gateway {

class BodyFollower {
 public:
  BodyFollower() = default;
  explicit BodyFollower(const http::Head& head)
      : framing_(head.framing),
        left_(head.framing == http::Framing::kLength ? head.content_length : 0) {}

  // Consumes from the front of `bytes`; what is left over belongs to the next message. With
  // `payload`, appends the body without its chunk heads to it.
  std::size_t take(std::string_view bytes, std::string* payload = nullptr);
  // The connection ended: true when that is how this body ends.
  bool finish_at_close();

  bool done() const;
  bool malformed() const { return chunked_.malformed(); }
  http::Framing framing() const { return framing_; }
  // Consumed so far, chunk heads included.
  std::uint64_t bytes() const { return bytes_; }
  // Still announced; 0 when the length is not known beforehand.
  std::uint64_t bytes_left() const { return left_; }

 private:
  std::size_t advance(std::string_view bytes, std::string* payload);

  http::Framing framing_ = http::Framing::kNone;
  bool closed_ = false;
  std::uint64_t left_ = 0;
  std::uint64_t bytes_ = 0;
  http::ChunkedDecoder chunked_;
};

}  // namespace banyan::gateway
