#pragma once
// Exchange: one request and its answer.
//
//   route ─► gate (perhaps held) ─► endpoint ─► head + body up ┐ at the same time, each with
//                     ▲                └─ response down ───────┘ backpressure ─► log
//                     └─ the snapshot in force when it is let in decides where it goes
//
// A request is sent a second time only when that cannot do it twice: when nothing of it was sent,
// or when its method is safe and a reused connection died before the first byte of an answer.
// The end of the client's sending is no abort; a broken connection is.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/event.h"
#include "io/socket.h"
#include "io/task.h"
#include "planes/gateway/body.h"
#include "planes/gateway/hold.h"
#include "planes/gateway/pool.h"
#include "planes/gateway/session.h"
#include "planes/gateway/worker.h"
#include "wire/http/head_writer.h"
#include "wire/http/http1_parser.h"

namespace banyan::gateway {

class Exchange final : private io::IdleObserver {
 public:
  // Copies what it needs of `head`.
  Exchange(Session& session, const http::Head& head);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  io::Task<Fate> run();
  // Makes everything that `run` waits for end.
  void cancel();

 private:
  enum class Attempt : std::uint8_t {
    kAnswered,  // fate_ says what comes next
    kClientGone,
    kNoRoute,
    kNoEndpoint,
    kUnreachable,  // no connection: nothing was sent
    kDied,         // the connection ended before the first byte of an answer
    kBadResponse,
    kLate,
    kBodyMalformed,
    kBodyTooLarge,
    kBodyLate,
  };
  enum class Entry : std::uint8_t { kInside, kRefused, kGone };
  struct Problem {
    int status;
    const char* text;
    int retry_after_s = 0;
  };

  void write_request_head(const http::Head& head);
  io::Task<Fate> answer();
  bool find_route();
  void take_first_body();
  std::optional<Problem> body_problem() const;
  io::Task<Fate> reply(Problem problem);
  void record();

  io::Task<Entry> enter();
  io::Task<Entry> wait_in_queue(std::unique_ptr<Ticket> ticket);
  io::Task<bool> wait_for_change(Ticket& ticket);
  io::Task<bool> read_while_held(Ticket& ticket);
  io::Task<void> send_continue();

  io::Task<Fate> forward();
  bool may_try_again(Attempt end);
  void choose_repeat(Endpoint& endpoint);
  static Problem problem_of(Attempt end);
  io::Task<Attempt> attempt();
  std::unique_ptr<Upstream> reuse(Endpoint& endpoint) const;
  io::Task<bool> connect(Endpoint& endpoint);
  io::Task<Attempt> converse();
  io::Detached upload();
  io::Task<void> end_upload();
  Attempt upload_failure() const;
  void append_to_inbox(std::string_view bytes);

  io::Task<Attempt> receive_response();
  io::Task<Attempt> receive_response_head();
  Attempt unanswered(io::IoStatus status) const;
  io::Task<bool> relay_interim();
  void begin_response(const http::Head& head);
  io::Task<Attempt> relay_response();
  io::Task<bool> relay_rest();
  void end_response(bool complete);

  io::Task<Attempt> tunnel();
  io::Detached tunnel_up();
  io::Task<void> pump(io::Socket& from, io::Socket& to, std::uint64_t& bytes);

  void on_idle_activity(io::Socket& socket) override;
  Mono after(Duration duration) const { return worker_.loop().now() + duration; }
  const LimitsSpec& limits() const { return routing_->snapshot.limits; }
  bool is_safe() const;

  Session& session_;
  Worker& worker_;
  io::Socket& client_;
  std::shared_ptr<const Routing> routing_;
  const Route* route_ = nullptr;

  // The request.
  std::string method_;
  std::string host_;
  std::string target_;
  std::string path_;  // normalised; empty: malformed
  std::string request_head_;
  std::string first_body_;  // received before it was sent upstream
  BodyFollower request_body_;
  http::TraceContext trace_{};
  http::Answers answers_;
  int client_minor_version_;
  bool client_keep_alive_;
  bool is_upgrade_;
  bool awaits_continue_;
  Mono started_;

  // The gate.
  Pass pass_;
  std::optional<Admission> admission_;
  io::Event changed_;  // admitted, or something happened to the client while it is held
  Duration held_{};
  HoldRefusal refusal_{};
  bool body_room_ = true;
  bool client_probed_ = false;
  bool client_gone_ = false;

  // The attempt.
  std::unique_ptr<Upstream> upstream_;
  std::vector<Endpoint*> tried_;
  Endpoint* again_ = nullptr;  // the next attempt goes there, on a new connection
  bool repeatable_ = false;    // the attempt that died may be made again without doing it twice
  std::int64_t retries_ = 0;
  std::size_t sent_bytes_ = 0;
  std::string upstream_address_;
  std::optional<Attempt> upload_end_;  // set when the upload failed
  bool uploading_ = false;
  bool stop_upload_ = false;
  io::Event upload_done_;

  // The answer.
  std::string response_in_;  // received and not yet relayed
  std::size_t response_head_size_ = 0;
  std::string client_head_;
  BodyFollower response_body_;
  int status_ = 0;
  std::uint64_t bytes_out_ = 0;
  bool is_switching_ = false;  // 101
  bool decodes_ = false;       // chunked, to a client that does not know it
  bool is_event_stream_ = false;
  bool upstream_keep_alive_ = false;
  bool client_persists_ = false;
  bool is_reusable_ = false;
  Fate fate_ = Fate::kClose;
  Mono last_pumped_;
};

}  // namespace banyan::gateway
