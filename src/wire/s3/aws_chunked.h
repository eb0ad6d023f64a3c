#pragma once
// AwsChunkedDecoder: the inner encoding of streamed uploads,
//   <size hex>[;chunk-signature=<hex>]\r\n <bytes>\r\n ... 0[;chunk-signature=..]\r\n
//   [trailer\r\n]* \r\n
// sans-IO: bytes in, content out. With a seed every chunk's (and the trailer's) signature is
// checked; a failed check means that nothing passed so far may be kept.

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "wire/s3/encoding.h"
#include "wire/s3/signer.h"

namespace banyan::s3 {

class AwsChunkedDecoder {
 public:
  // Without a seed the chunks are unsigned.
  explicit AwsChunkedDecoder(std::optional<Verified> seed);
  Result<void> feed(std::string_view bytes, const ByteSink& sink);
  // True after the last chunk and its trailers.
  bool finished() const { return state_ == State::kDone; }
  // The trailing headers, lower-case names.
  const HeaderList& trailers() const { return trailers_; }

 private:
  //  kSize -> kData -> kDataEnd -> kSize ... kSize(0) -> kTrailer -> kDone
  enum class State : std::uint8_t { kSize, kData, kDataEnd, kTrailer, kDone };

  Result<void> line(std::string_view text);
  Result<void> size_line(std::string_view text);
  Result<void> trailer_line(std::string_view text);
  Result<void> check_chunk();
  Result<void> check_trailer();

  const std::optional<Verified> seed_;
  State state_ = State::kSize;
  std::string buffered_;  // an unfinished line
  std::int64_t left_ = 0;
  std::string signature_;
  std::string previous_;
  Digest digest_{Digest::Kind::kSha256};
  HeaderList trailers_;
};

}  // namespace banyan::s3
