#pragma once
// Http1Session: a client connection that speaks HTTP/1. Reads request heads and has each answered
// by an Exchange, until either side wants to end.

#include <cstdint>
#include <string>

#include "io/socket.h"
#include "io/task.h"
#include "planes/gateway/body.h"
#include "planes/gateway/client.h"
#include "planes/gateway/inbox.h"
#include "planes/gateway/session.h"

namespace banyan::gateway {

class Exchange;

class Http1Session final : public Protocol, private Client, private io::IdleObserver {
 public:
  Http1Session(Worker& worker, Session& session);

  io::Task<void> run();
  // After `run`: what the client sent instead of a first request, when it speaks HTTP/2.
  std::string take_preface() { return std::string(speaks_http2_ ? inbox_.take() : ""); }
  void close_if_idle() override;
  void cancel() override;  // of Protocol and of Side: everything ends now

 private:
  enum class HeadEnd : std::uint8_t { kComplete, kIncomplete, kRefused, kLate, kGone, kHttp2 };
  // What becomes of the connection after a request.
  enum class Fate : std::uint8_t {
    kPersist,
    kClose,
    kLinger,  // closes, but first lets the client read the answer although it still sends
  };

  // What only a request that is being answered needs.
  struct Bodies {
    BodyFollower request;
    BodyWriter response;
  };

  // Leave the parsed head in worker.head(), whose views point into inbox_.
  HeadEnd parse_head();
  io::Task<HeadEnd> receive_rest_of_head();
  std::span<char> head_room();
  void note_severe();
  bool is_http2_preface() const;
  void begin_request(const http::Head& head);
  io::Task<Fate> answer();
  io::Task<Fate> refuse(int status, const char* reason);
  io::Task<void> linger();

  // Client: the request that is being answered.
  const std::string& ip() const override { return session_.ip(); }
  std::string_view scheme() const override { return session_.scheme(); }
  std::string_view certificate_lines() const override { return session_.certificate_lines(); }
  std::string_view take_received() override;
  io::Task<BodyPiece> read_body(std::size_t most, Mono deadline) override;
  void set_observer(ClientObserver* observer) override;
  bool is_gone() const override { return socket_.is_broken(); }
  io::Task<bool> probe(Mono deadline) override;
  io::Task<io::IoResult> send_continue(Mono deadline) override;
  io::Task<io::IoResult> send_interim(const http::Head& head, Mono deadline) override;
  void end_after_answer() override { keep_alive_ = false; }
  void refuse_extensions() override { bodies_->request.refuse_extensions(); }
  io::Task<io::IoResult> reply(OwnAnswer answer, Mono deadline) override;
  io::Task<io::IoResult> respond(const http::Head& head, BodyForm form, BodyPart first,
                                 Mono deadline) override;
  io::Task<io::IoResult> send_body(BodyPart part, Mono deadline) override;
  io::Socket* unseen_sink() override;
  void begin_tunnel() override;
  void end_sending() override { socket_.shutdown_send(); }
  void stop_reading() override { socket_.cancel_recv(); }

  BodyFollower::Passed follow(std::string_view bytes);
  BodyWriter::Mode response_mode(const http::Head& head, BodyForm form) const;
  void on_idle_activity(io::Socket& socket) override;

  bool must_redirect() const;
  io::Task<Fate> redirect(const http::Head& head);

  Worker& worker_;
  Session& session_;
  io::Socket& socket_;
  Inbox inbox_;
  std::size_t inspected_ = 0;  // how much of inbox_ has been tried as a head
  std::size_t head_size_ = 0;
  int refused_status_ = 0;
  const char* refused_reason_ = "";
  bool idle_ = false;  // between two requests
  bool served_ = false;
  bool speaks_http2_ = false;
  Exchange* exchange_ = nullptr;

  // The request that is being answered.
  Bodies* bodies_ = nullptr;
  http::Answers answers_ = http::Answers::kOther;
  int minor_version_ = 1;
  bool keep_alive_ = false;
  bool is_ambiguous_ = false;
  bool probed_ = false;
  bool tunnel_ = false;
  bool persists_ = false;  // after the answer that was begun
  ClientObserver* observer_ = nullptr;
};

}  // namespace banyan::gateway
