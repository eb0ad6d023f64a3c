#include "wire/http/event_stream.h"

namespace banyan::http {

void EventStreamFollower::take(std::string_view bytes) {
  if (body_ == Body::kPlain) return follow(bytes);
  payload_.clear();
  chunks_.decode(bytes, payload_);
  follow(payload_);
}

std::size_t EventStreamFollower::take_to_boundary(std::string_view bytes) {
  std::size_t taken = 0;
  while (taken < bytes.size() && !at_boundary()) take(bytes.substr(taken++, 1));
  return taken;
}

bool EventStreamFollower::at_boundary() const {
  if (body_ == Body::kChunked && !chunks_.is_between_chunks()) return false;
  return coding_ == Coding::kSome || (at_line_start_ && !in_event_);
}

void EventStreamFollower::follow(std::string_view payload) {
  if (coding_ == Coding::kSome) return;
  // A line ends with CR, LF or both.
  for (const char c : payload) {
    const bool ends_crlf = c == '\n' && after_cr_;
    after_cr_ = c == '\r';
    if (ends_crlf) continue;
    if (c == '\r' || c == '\n') {
      if (at_line_start_) in_event_ = false;
      at_line_start_ = true;
    } else {
      if (at_line_start_ && c != ':') in_event_ = true;
      at_line_start_ = false;
    }
  }
}

}  // namespace banyan::http
