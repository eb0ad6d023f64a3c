#include "planes/gateway/body.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/check.h"

namespace banyan::gateway {

using http::Framing;

// Of a body without chunks.
std::size_t BodyFollower::advance(std::string_view bytes) {
  if (framing_ == Framing::kNone) return 0;
  if (framing_ == Framing::kUntilClose) return bytes.size();
  const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size()));
  left_ -= taken;
  return taken;
}

BodyFollower::Passed BodyFollower::pass(std::string_view bytes) {
  stripped_.reset();
  const bool is_chunked = framing_ == Framing::kChunked;
  const std::size_t taken = is_chunked ? chunked_.feed(bytes, stripped_) : advance(bytes);
  bytes_ += taken;
  return {taken, stripped_ ? std::string_view(*stripped_) : bytes.substr(0, taken)};
}

void BodyFollower::skip(std::uint64_t bytes) {
  CHECK(framing_ == Framing::kLength && bytes <= left_);
  left_ -= bytes;
  bytes_ += bytes;
}

bool BodyFollower::finish_at_close() {
  closed_ = true;
  return done();
}

bool BodyFollower::done() const {
  switch (framing_) {
    case Framing::kNone:
      return true;
    case Framing::kLength:
      return left_ == 0;
    case Framing::kChunked:
      return chunked_.done();
    case Framing::kUntilClose:
      return closed_;
  }
  return true;
}

void BodyWriter::begin(Mode mode) {
  mode_ = mode;
  began_ = false;
  chunked_ = {};
}

BodyWriter::Pieces BodyWriter::write(const BodyPart& part) {
  if (mode_ == Mode::kPass) return {part.bytes, {}};
  text_.clear();
  if (mode_ == Mode::kEncode) return encode(part);
  // What follows the last chunk is the source's to judge: it follows the same bytes.
  chunked_.decode(part.bytes, text_);
  return {text_, {}};
}

BodyWriter::Pieces BodyWriter::encode(const BodyPart& part) {
  if (!part.bytes.empty()) {
    fmt::format_to(std::back_inserter(text_), "{}{:x}\r\n", began_ ? "\r\n" : "",
                   part.bytes.size());
    began_ = true;
    if (!part.last) return {text_, part.bytes};
    text_ += part.bytes;
  }
  if (part.last)
    fmt::format_to(std::back_inserter(text_), "{}0\r\n{}\r\n", began_ ? "\r\n" : "", part.trailers);
  return {text_, {}};
}

}  // namespace banyan::gateway
