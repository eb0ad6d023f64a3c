#pragma once
// Http2Stream: one request on an HTTP/2 connection, as an Exchange sees it.
//
// Its head becomes HTTP/1 text and passes the same strict parser as any other request: what HTTP/1
// would refuse is refused here. An extended CONNECT (RFC 8441) becomes the upgrade it stands for.

#include <string>

#include "io/event.h"
#include "planes/gateway/body.h"
#include "planes/gateway/client.h"
#include "wire/h2/connection.h"

namespace banyan::gateway {

class Exchange;
class Http2Session;

class Http2Stream final : public Client {
 public:
  Http2Stream(Http2Session& session, h2::StreamId id, const h2::Head& head);

  h2::StreamId id() const { return id_; }
  // To its end.
  io::Task<void> serve();

  // From the connection; they only record.
  void add_data(std::string_view bytes);
  void add_trailers(std::span<const h2::Field> fields);
  void end_data();
  void note_writable() { writable_.set(); }
  void lose();

  // Client.
  const std::string& ip() const override;
  std::string_view scheme() const override;
  std::string_view certificate_lines() const override;
  std::string_view trailers() const override { return trailers_; }
  std::string_view take_received() override;
  io::Task<BodyPiece> read_body(std::size_t most, Mono deadline) override;
  void set_observer(ClientObserver* observer) override { observer_ = observer; }
  bool is_gone() const override { return gone_; }
  io::Task<bool> probe(Mono) override;
  io::Task<io::IoResult> send_continue(Mono deadline) override;
  io::Task<io::IoResult> send_interim(const http::Head& head, Mono deadline) override;
  void end_after_answer() override {}  // a stream ends where its frames say
  io::Task<io::IoResult> reply(OwnAnswer answer, Mono deadline) override;
  io::Task<io::IoResult> respond(const http::Head& head, BodyForm form, BodyPart first,
                                 Mono deadline) override;
  io::Task<io::IoResult> send_body(BodyPart part, Mono deadline) override;
  void begin_tunnel() override;
  void end_sending() override;
  void stop_reading() override;
  void cancel() override;

 private:
  io::IoResult state() const;
  void pass_on();
  std::string_view take_pending();
  void put(const BodyPart& part);
  io::Task<io::IoResult> drained(Mono deadline);
  void reply_grpc(const OwnAnswer& answer);
  io::Task<void> refuse(int status, std::string_view why);

  Http2Session& session_;
  h2::StreamId id_;
  std::string head_text_;
  bool too_large_;
  bool is_head_request_;
  bool is_tunnel_request_;  // extended CONNECT
  Exchange* exchange_ = nullptr;
  ClientObserver* observer_ = nullptr;

  std::string pending_;  // received and not yet taken
  std::string taken_;    // what the last reader was given
  std::string trailers_;
  bool ended_ = false;  // nothing follows `pending_`
  bool gone_ = false;
  bool stop_reading_ = false;
  io::Event readable_;
  io::Event writable_;
  BodyWriter response_;
};

}  // namespace banyan::gateway
