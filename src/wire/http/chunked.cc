#include "wire/http/chunked.h"

#include <algorithm>

#include "base/hex.h"
#include "wire/http/text.h"

namespace banyan::http {
namespace {

bool is_text(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

constexpr int kDigitsMax = 15;
constexpr std::size_t kTrailerNameMax = 128;

// Fields that a reader which merges trailers into the head could take for framing or routing.
constexpr std::string_view kForbiddenTrailers[] = {
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "content_length",
    "transfer_encoding",
    "authorization",
    "cookie",
    "expect",
    "upgrade",
    "te",
    "trailer",
    "x-forwarded-for",
    "forwarded",
    "content-encoding",
};

}  // namespace

bool ChunkedDecoder::take_size(char c) {
  if (const int digit = hex_value(c); digit >= 0) {
    if (++digits_ > kDigitsMax) return false;
    left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
    return true;
  }
  if (digits_ == 0) return false;
  if (c == '\r') {
    step_ = Step::kSizeLf;
    return true;
  }
  if (c != ';') return false;
  extension_bytes_ = 0;
  has_extensions_ = true;
  step_ = Step::kExtension;
  return !refuses_extensions_;
}

bool ChunkedDecoder::take_extension(char c) {
  if (c == '\r') {
    step_ = Step::kSizeLf;
    return true;
  }
  return is_text(c) && ++extension_bytes_ <= kExtensionBytesMax;
}

bool is_forbidden_trailer(std::string_view name) {
  return std::ranges::any_of(kForbiddenTrailers, [&](std::string_view forbidden) {
    return equals_lower(name, forbidden);
  });
}

bool ChunkedDecoder::finish_trailer_name() {
  if (is_forbidden_trailer(trailer_name_)) return false;
  step_ = Step::kTrailerValue;
  if (keeps_trailers_) {
    for (const char c : trailer_name_) trailers_ += lower(c);
    trailers_ += ": ";
  }
  return is_token(trailer_name_);
}

// A byte of a trailer's value, or its CR; blanks around the value are written as one before it.
void ChunkedDecoder::keep_trailer(char c) {
  if (c == '\r') {
    while (is_blank(trailers_.back())) trailers_.pop_back();
    if (trailers_.ends_with(':')) trailers_ += ' ';
    trailers_ += "\r\n";
  } else if (!is_blank(c) || !trailers_.ends_with(' ')) {
    trailers_ += c;
  }
}

bool ChunkedDecoder::take_trailer(char c) {
  if (++trailer_bytes_ > kTrailerBytesMax) return false;
  if (step_ == Step::kTrailerStart) {
    trailer_name_.clear();
    step_ = c == '\r' ? Step::kEndLf : Step::kTrailerName;
    if (c == '\r') return true;
  }
  if (step_ == Step::kTrailerName) {
    if (c == ':') return finish_trailer_name();
    trailer_name_ += c;
    return trailer_name_.size() <= kTrailerNameMax && is_text(c);
  }
  if (keeps_trailers_) keep_trailer(c);
  if (c != '\r') return is_text(c);
  step_ = Step::kTrailerLf;
  return true;
}

// One byte that is not payload; false: the body is malformed.
bool ChunkedDecoder::take_byte(char c) {
  switch (step_) {
    case Step::kSize:
      return take_size(c);
    case Step::kExtension:
      return take_extension(c);
    case Step::kSizeLf:
      step_ = left_ > 0 ? Step::kData : Step::kTrailerStart;
      return c == '\n';
    case Step::kDataCr:
      step_ = Step::kDataLf;
      return c == '\r';
    case Step::kDataLf:
      step_ = Step::kSize;
      digits_ = 0;
      return c == '\n';
    case Step::kTrailerLf:
      step_ = Step::kTrailerStart;
      return c == '\n';
    case Step::kEndLf:
      state_ = State::kDone;
      return c == '\n';
    default:
      return take_trailer(c);
  }
}

std::size_t ChunkedDecoder::take_data(std::string_view rest, std::string* payload) {
  const auto taken = static_cast<std::size_t>(std::min<std::uint64_t>(left_, rest.size()));
  if (payload != nullptr) payload->append(rest.substr(0, taken));
  left_ -= taken;
  if (left_ == 0) step_ = Step::kDataCr;
  return taken;
}

std::size_t ChunkedDecoder::advance(std::string_view bytes, Output out) {
  std::size_t at = 0;
  std::size_t kept_from = 0;  // not in `stripped` yet
  keeps_trailers_ = out.payload != nullptr;
  while (at < bytes.size() && state_ == State::kMore) {
    if (step_ == Step::kData) {
      at += take_data(bytes.substr(at), out.payload);
      continue;
    }
    if (!take_byte(bytes[at])) {
      state_ = State::kMalformed;
      return 0;
    }
    ++at;
    if (step_ != Step::kExtension || out.stripped == nullptr) continue;
    if (kept_from == 0) out.stripped->emplace();
    (*out.stripped)->append(bytes, kept_from, at - 1 - kept_from);
    kept_from = at;
  }
  if (kept_from > 0) (*out.stripped)->append(bytes, kept_from, at - kept_from);
  return at;
}

}  // namespace banyan::http
