#pragma once
// Upstream: the side of an exchange towards an instance of the application: an HTTP/1 connection,
// or one stream of HTTP/2. Serves one request at a time.

#include <cstdint>
#include <memory>
#include <string_view>

#include "planes/gateway/side.h"
#include "wire/http/http1_parser.h"

namespace banyan::gateway {

class Endpoint;

// A request as it is sent, perhaps more than once.
struct OutgoingRequest {
  std::string_view head;                         // HTTP/1.1 text, for any protocol
  BodyForm form = BodyForm::kPlain;              // how the parts of the body look
  http::Framing framing = http::Framing::kNone;  // what the head announces
  http::Answers answers = http::Answers::kOther;
};

class Upstream : public Side {
 public:
  enum class HeadEnd : std::uint8_t { kComplete, kRefused, kLate, kEnded };

  virtual ~Upstream() = default;

  Endpoint& endpoint() { return endpoint_; }
  // It has served a request before.
  bool is_reused() const { return served_ > 0; }

  // `bytes` of the result: how much went out, 0 when nothing can have been seen.
  virtual io::Task<io::IoResult> send_request(const OutgoingRequest& request, BodyPart first,
                                              Mono deadline) = 0;
  // The next head, interim ones too, into `head`, whose views live until the next read.
  virtual io::Task<HeadEnd> receive_head(http::Head& head, Mono deadline) = 0;
  // Of the present answer; tells a connection that died from one that talks nonsense.
  virtual bool has_partial_head() const = 0;
  // The other side says that it has not looked at the request: another try cannot do it twice.
  virtual bool is_unprocessed() const { return false; }
  // The other side has neither ended nor said anything; asks the kernel.
  virtual bool is_quiet() = 0;
  // After a complete exchange: another request may follow.
  virtual bool is_reusable() const = 0;
  // Kept for the next request: the endpoint is told when the connection changes.
  virtual void set_idle(bool idle) = 0;

 protected:
  explicit Upstream(Endpoint& endpoint) : endpoint_(endpoint) {}

  void note_reuse() { ++served_; }

  Endpoint& endpoint_;

 private:
  friend class Endpoint;
  std::uint64_t served_ = 0;
  Mono idle_since_{};
};

}  // namespace banyan::gateway
