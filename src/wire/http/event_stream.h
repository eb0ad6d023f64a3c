#pragma once
// EventStreamFollower: where an event stream (text/event-stream, WHATWG HTML section 9.2) that
// streams past may be ended: between two events, and where its body is in chunks between two
// chunks. Of a stream in a content coding only the chunks are seen. Sans-IO.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "wire/http/chunked.h"

namespace banyan::http {

class EventStreamFollower {
 public:
  enum class Body : std::uint8_t { kPlain, kChunked };
  enum class Coding : std::uint8_t { kNone, kSome };

  EventStreamFollower(Body body, Coding coding) : body_(body), coding_(coding) {}

  void take(std::string_view bytes);
  // Only as many as it takes to be between two events; returns how many.
  std::size_t take_to_boundary(std::string_view bytes);
  bool at_boundary() const;

 private:
  void follow(std::string_view payload);

  Body body_;
  Coding coding_;
  ChunkedDecoder chunks_;
  std::string payload_;
  bool after_cr_ = false;
  bool at_line_start_ = true;
  bool in_event_ = false;  // a line that is no comment, and no empty line since
};

}  // namespace banyan::http
