#pragma once
// Side: what the two halves of an exchange have in common, whatever their protocol: a body comes
// out of it and a body goes into it. Client is the half towards the user, Upstream the other one.
//
// Bytes pass from one side to the other in one of two forms: plain, or in the chunks of HTTP/1 as
// they were received, so that between two HTTP/1 connections nothing is decoded. (Extensions of
// chunks are left out: RFC 9112 section 7.1.1.) A side gives what
// it has and takes either. After `begin_tunnel` both directions are plain and endless.

#include <cstdint>
#include <string_view>

#include "base/clock.h"
#include "io/socket.h"
#include "io/task.h"

namespace banyan::gateway {

enum class BodyForm : std::uint8_t { kPlain, kChunked };

// The body that comes out of a side.
struct BodyProgress {
  BodyForm form = BodyForm::kPlain;
  bool done = true;
  bool malformed = false;
  bool has_extensions = false;   // of chunks; they are not passed on
  std::uint64_t bytes = 0;       // so far, chunk heads included
  std::uint64_t bytes_left = 0;  // still announced; 0: not known
};

// `bytes` is valid until the coroutine suspends. kEnd: the peer ended its sending.
struct BodyPiece {
  io::IoStatus status = io::IoStatus::kOk;
  std::string_view bytes = {};
  bool ok() const { return status == io::IoStatus::kOk; }
};

// What goes into a side. `trailers`, as lines that end in CRLF, only with the last plain bytes.
struct BodyPart {
  std::string_view bytes = {};
  bool last = false;
  std::string_view trailers = {};
};

class Side {
 public:
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  const BodyProgress& incoming() const { return incoming_; }
  // Of a plain body that is done.
  virtual std::string_view trailers() const { return {}; }
  // What of it has been received already, perhaps nothing; valid until the coroutine suspends.
  virtual std::string_view take_received() = 0;
  // At least one byte, at most `most`, unless the status says otherwise. One reader at a time.
  virtual io::Task<BodyPiece> read_body(std::size_t most, Mono deadline) = 0;
  virtual io::Task<io::IoResult> send_body(BodyPart part, Mono deadline) = 0;

  // A body may pass by unseen, from socket to socket, where its bytes are the connection's own: the
  // socket and how many bytes of the body follow on it (none: they must be read), the socket that
  // takes bytes as they are, and what has passed by.
  struct Unseen {
    io::Socket* socket = nullptr;
    std::uint64_t bytes = 0;
  };
  virtual Unseen unseen_source() { return {}; }
  virtual io::Socket* unseen_sink() { return nullptr; }
  virtual void note_passed_by(std::uint64_t /*bytes*/) {}

  virtual void begin_tunnel() = 0;
  virtual void end_sending() = 0;
  // Ends the read that waits.
  virtual void stop_reading() = 0;
  // Ends every operation, now and later.
  virtual void cancel() = 0;

 protected:
  Side() = default;
  ~Side() = default;

  BodyProgress incoming_;
};

}  // namespace banyan::gateway
