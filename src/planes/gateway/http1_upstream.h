#pragma once
// Http1Upstream: a connection to an endpoint that speaks HTTP/1.1.

#include <string>

#include "planes/gateway/body.h"
#include "planes/gateway/inbox.h"
#include "planes/gateway/routing.h"
#include "planes/gateway/upstream.h"

namespace banyan::gateway {

class Http1Upstream final : public Upstream, private io::IdleObserver {
 public:
  Http1Upstream(io::Loop& loop, Endpoint& endpoint) : Upstream(endpoint), socket_(loop) {}
  io::Task<Result<void>> connect(const EndpointPlan& to, Mono deadline);

  io::Task<io::IoResult> send_request(const OutgoingRequest& request, BodyPart first,
                                      Mono deadline) override;
  io::Task<io::IoResult> send_body(BodyPart part, Mono deadline) override;
  io::Task<HeadEnd> receive_head(http::Head& head, Mono deadline) override;
  std::string_view take_received() override;
  io::Task<BodyPiece> read_body(std::size_t most, Mono deadline) override;
  bool has_partial_head() const override { return !inbox_.empty(); }
  bool is_quiet() override { return socket_.is_quiet(); }
  bool is_reusable() const override;
  void set_idle(bool idle) override;
  Unseen unseen_source() override;
  void note_passed_by(std::uint64_t bytes) override;
  void begin_tunnel() override;
  void end_sending() override { socket_.shutdown_send(); }
  void stop_reading() override { socket_.cancel_recv(); }
  void cancel() override;

 private:
  HeadEnd finish_head(const http::Head& head, std::size_t size);
  std::string_view take(std::string_view bytes);
  void on_idle_activity(io::Socket& socket) override;

  io::Socket socket_;
  http::Answers answers_ = http::Answers::kOther;
  BodyWriter request_;
  Inbox inbox_;
  BodyFollower response_;
  bool keep_alive_ = false;
  bool tunnel_ = false;
  bool cancelled_ = false;
};

}  // namespace banyan::gateway
