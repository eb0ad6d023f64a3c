#pragma once
// Client: the side of an exchange towards the user: an HTTP/1 connection, or one stream of HTTP/2.
//
// Order of calls: reading and interim answers; then exactly one of `reply` and `respond` (with
// `send_body` until the last part). What becomes of the connection afterwards is its own business.

#include <string>
#include <string_view>

#include "planes/gateway/side.h"
#include "wire/http/head_writer.h"
#include "wire/http/http1_parser.h"

namespace banyan::gateway {

class ClientObserver {
 public:
  // It went, or sent something while nobody read.
  virtual void on_client_activity() = 0;

 protected:
  ~ClientObserver() = default;
};

// The gateway's own answer.
struct OwnAnswer {
  int status = 502;
  std::string_view text = {};
  int retry_after_s = 0;         // 0: no such field
  std::string_view type = {};    // Content-Type; empty: plain text
  std::string_view fields = {};  // further ones, as lines that end in CRLF
  int grpc_status = 0;           // not 0: the request is gRPC, which hears this and `text`
};

class Client : public Side {
 public:
  virtual const std::string& ip() const = 0;
  virtual std::string_view scheme() const = 0;  // "http" or "https"
  // Header lines that tell the upstream of the client's certificate; empty without one.
  virtual std::string_view certificate_lines() const = 0;

  virtual void set_observer(ClientObserver* observer) = 0;
  // Cannot be answered any more.
  virtual bool is_gone() const = 0;
  // It ended its sending before the request was answered: half, or all? Asks it, at most once, in a
  // way that makes `is_gone` true soon when it has left. False: it is gone already.
  virtual io::Task<bool> probe(Mono deadline) = 0;

  // It waits for leave to send its body.
  bool awaits_continue() const { return awaits_continue_; }
  virtual io::Task<io::IoResult> send_continue(Mono deadline) = 0;
  // 103 and the like; dropped when the client would not understand it.
  virtual io::Task<io::IoResult> send_interim(const http::Head& head, Mono deadline) = 0;

  // What follows the request on its connection is not to be trusted: the answer is the last one.
  virtual void end_after_answer() = 0;
  // A body whose chunks have extensions is malformed.
  virtual void refuse_extensions() {}
  virtual io::Task<io::IoResult> reply(OwnAnswer answer, Mono deadline) = 0;
  // The head's framing says what to announce, `form` how the parts of the body look; also 101.
  virtual io::Task<io::IoResult> respond(const http::Head& head, BodyForm form, BodyPart first,
                                         Mono deadline) = 0;

 protected:
  ~Client() = default;

  bool awaits_continue_ = false;
};

}  // namespace banyan::gateway
