#include "wire/s3/aws_chunked.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace banyan::s3 {
namespace {

constexpr std::size_t kLineMax = 8 * 1024;
constexpr std::size_t kTrailersMax = 32;
constexpr std::string_view kTrailerSignature = "x-amz-trailer-signature";

std::unexpected<Error> malformed(std::string_view what) {
  return failure(Code::kInvalidArgument, "InvalidRequest: malformed chunk: " + std::string(what));
}
std::unexpected<Error> mismatch() {
  return failure(Code::kPermission, "SignatureDoesNotMatch: a chunk's signature does not match");
}

}  // namespace

AwsChunkedDecoder::AwsChunkedDecoder(std::optional<Verified> seed) : seed_(std::move(seed)) {
  if (seed_) previous_ = seed_->signature;
}

Result<void> AwsChunkedDecoder::feed(std::string_view bytes, const ByteSink& sink) {
  while (!bytes.empty() && state_ != State::kDone) {
    if (state_ == State::kData) {
      const auto n = std::min<std::size_t>(bytes.size(), static_cast<std::size_t>(left_));
      TRY_VOID(sink(bytes.substr(0, n)));
      if (seed_) digest_.update(bytes.substr(0, n));
      bytes.remove_prefix(n);
      left_ -= static_cast<std::int64_t>(n);
      if (left_ == 0) state_ = State::kDataEnd;
      continue;
    }
    const auto end = bytes.find('\n');
    buffered_ += bytes.substr(0, end);
    if (buffered_.size() > kLineMax) return malformed("line too long");
    if (end == std::string_view::npos) return {};
    bytes.remove_prefix(end + 1);
    if (buffered_.ends_with('\r')) buffered_.pop_back();
    TRY_VOID(line(std::exchange(buffered_, {})));
  }
  return {};
}

Result<void> AwsChunkedDecoder::line(std::string_view text) {
  if (state_ == State::kTrailer) return trailer_line(text);
  if (state_ == State::kSize) return size_line(text);
  if (!text.empty()) return malformed("no end of chunk");
  state_ = State::kSize;
  return check_chunk();
}

Result<void> AwsChunkedDecoder::size_line(std::string_view text) {
  const std::string line(text);
  char* end = nullptr;
  left_ = std::strtoll(line.c_str(), &end, 16);
  if (end == line.c_str() || left_ < 0) return malformed("no size");
  const auto at = line.find("chunk-signature=");
  signature_ = at == std::string::npos ? "" : line.substr(at + 16);
  state_ = left_ == 0 ? State::kTrailer : State::kData;
  return left_ == 0 ? check_chunk() : Result<void>{};
}

Result<void> AwsChunkedDecoder::trailer_line(std::string_view text) {
  if (text.empty()) {
    state_ = State::kDone;
    return check_trailer();
  }
  const auto colon = text.find(':');
  if (colon == std::string_view::npos || trailers_.size() >= kTrailersMax) {
    return malformed("trailer");
  }
  std::string name(text.substr(0, colon));
  for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  trailers_.emplace_back(std::move(name), text.substr(colon + 1));
  return {};
}

Result<void> AwsChunkedDecoder::check_chunk() {
  if (!seed_) return {};
  const std::string expected = chunk_signature(*seed_, previous_, hex(digest_.finish()));
  if (!equal_secrets(expected, signature_)) return mismatch();
  previous_ = expected;
  return {};
}

Result<void> AwsChunkedDecoder::check_trailer() {
  if (!seed_ || trailers_.empty()) return {};
  std::string signed_text;
  std::string given;
  for (const auto& [name, value] : trailers_) {
    if (name == kTrailerSignature) {
      given = value;
    } else {
      signed_text += name + ":" + value + "\n";
    }
  }
  const std::string expected = trailer_signature(*seed_, previous_, hex(sha256(signed_text)));
  return equal_secrets(expected, given) ? Result<void>{} : mismatch();
}

}  // namespace banyan::s3
