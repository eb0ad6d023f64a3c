#pragma once
// Bodies in HTTP/1 framing. Sans-IO.
//   BodyFollower: where a body that streams past ends, whatever its framing.
//   BodyWriter: puts a body that comes in any form into the framing of the message it goes out in.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "planes/gateway/side.h"
#include "wire/http/chunked.h"
#include "wire/http/http1_parser.h"

namespace banyan::gateway {

class BodyFollower {
 public:
  BodyFollower() = default;
  explicit BodyFollower(const http::Head& head)
      : framing_(head.framing),
        left_(head.framing == http::Framing::kLength ? head.content_length : 0) {}

  // What is consumed from the front of `bytes`; what is left over belongs to the next message.
  // `body` is how it may be passed on: those bytes, but for the extensions of chunks. Valid as long
  // as `bytes`, and until the next call.
  struct Passed {
    std::size_t taken = 0;
    std::string_view body;
  };
  Passed pass(std::string_view bytes);
  void refuse_extensions() { chunked_.refuse_extensions(); }
  // So many bytes of a body of known length went by elsewhere.
  void skip(std::uint64_t bytes);
  // The connection ended: true when that is how this body ends.
  bool finish_at_close();

  bool done() const;
  bool malformed() const { return chunked_.malformed(); }
  bool has_extensions() const { return chunked_.has_extensions(); }
  http::Framing framing() const { return framing_; }
  // Consumed so far, chunk heads included.
  std::uint64_t bytes() const { return bytes_; }
  // Still announced; 0 when the length is not known beforehand.
  std::uint64_t bytes_left() const { return left_; }

 private:
  std::size_t advance(std::string_view bytes);

  http::Framing framing_ = http::Framing::kNone;
  bool closed_ = false;
  std::uint64_t left_ = 0;
  std::uint64_t bytes_ = 0;
  http::ChunkedDecoder chunked_;
  std::optional<std::string> stripped_;
};

class BodyWriter {
 public:
  enum class Mode : std::uint8_t {
    kPass,    // the bytes go out as they come
    kEncode,  // plain bytes become chunks
    kDecode,  // chunks become plain bytes, for a peer that does not know them
  };
  // To be sent one after the other; valid until the next call.
  struct Pieces {
    std::string_view first;
    std::string_view second;
  };

  void begin(Mode mode);
  Mode mode() const { return mode_; }
  Pieces write(const BodyPart& part);
  // What follows the last plain bytes: the part's own trailers, or those of the decoded chunks.
  std::string_view trailers(const BodyPart& last) const {
    return mode_ == Mode::kDecode ? std::string_view(chunked_.trailers()) : last.trailers;
  }

 private:
  Pieces encode(const BodyPart& part);

  Mode mode_ = Mode::kPass;
  bool began_ = false;  // a chunk went out, its final line break did not
  std::string text_;
  http::ChunkedDecoder chunked_;
};

}  // namespace banyan::gateway
