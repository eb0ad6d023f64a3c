#pragma once
// Exchange: one request and its answer, whatever the protocols on both sides.
//
//   route ─► gate (perhaps held) ─► endpoint ─► attempt ─► log
//                     ▲                 ▲          │ may be made again
//                     │                 └──────────┘
//                     └─ the snapshot in force when it is let in decides where it goes
//
// A request is sent a second time only when that cannot do it twice: when nothing of it was sent,
// or when its method is safe and it died before the first byte of an answer; or when the route
// names the answer as a reason, and the method is safe or the route says that it may be done twice.
// Its parts: exchange.cc the order of steps; exchange_gate.cc the hold; exchange_attempts.cc the
// endpoints asked; exchange_limits.cc rates, places, and when it is tried again;
// exchange_answers.cc and exchange_health.cc what the gateway answers itself; exchange_streams.cc
// endless answers.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/event.h"
#include "io/task.h"
#include "planes/gateway/attempt.h"
#include "planes/gateway/client.h"
#include "planes/gateway/hold.h"
#include "planes/gateway/pool.h"
#include "planes/gateway/request_trace.h"
#include "planes/gateway/worker.h"
#include "wire/http/desync.h"
#include "wire/http/head_writer.h"
#include "wire/http/http1_parser.h"

namespace banyan::gateway {

enum class Answered : std::uint8_t { kFully, kNotFully };

class Exchange final : private ClientObserver, private AttemptOwner {
 public:
  // Copies what it needs of `head`.
  Exchange(Worker& worker, Client& client, const http::Head& head);
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  io::Task<Answered> run();
  // Makes everything that `run` waits for end.
  void cancel();

  // Of an endless answer or a gRPC call, for Rehoming: its request would still lead to the endpoint
  // it is at; it ends where that loses nothing, or says false when that is not now.
  bool is_at_home();
  bool is_grpc_call() const { return is_grpc_call_; }
  bool leave(int close_code);
  // Of a gRPC call, for Settling: while its route is held it says nothing new, and once it is quiet
  // the hold does not wait for it; afterwards it goes on, or leaves when it has something to say.
  void settle();
  void carry_on();

 private:
  static constexpr Duration kReplyTime = 10s;  // to hand a few bytes to the kernel

  enum class Entry : std::uint8_t { kInside, kRefused, kGone, kQueued, kLate };
  struct Problem {
    int status;
    const char* text;
    int retry_after_s = 0;
  };

  void write_request_head(const http::Head& head);
  std::string_view authority() const;
  void begin_trace(const http::Head& head);
  void finish_trace();
  io::Task<Answered> answer();
  bool find_route();
  RequestFacts facts(bool with_fields);
  void choose_backend();
  const RoutePlan& plan() const { return routing_->plans[route_->index]; }
  // The gateway itself answers requests of this route.
  bool answers_itself() const { return backend_ == kNoBackend; }
  io::Task<Answered> answer_by_rule();
  io::Task<Answered> answer_as_final_recipient();
  io::Task<Answered> answer_health();
  std::optional<bool> is_serving(const std::string& service);
  io::Task<Answered> send_own(OwnAnswer answer);
  bool fall_back(AttemptEnd end);
  std::int64_t retries_max() const;
  std::int64_t body_bytes_max() const;
  Duration response_time() const;
  Mono response_until() const;
  std::optional<Problem> body_problem() const;
  std::optional<Problem> desync_problem();
  io::Task<Answered> reply(Problem problem);
  std::string full_reason() const;
  void record();

  Entry enter();
  io::Task<Entry> wait_in_queue();
  bool is_patience_over() const { return worker_.loop().now() >= patient_until(); }
  Mono patient_until() const;
  io::Task<bool> wait_for_change();
  io::Task<bool> read_while_held();

  io::Task<Answered> forward();
  bool may_try_again(AttemptEnd end);
  bool takes_retry();
  io::Task<bool> back_off(AttemptEnd end);
  bool declines(int status, Duration retry_after);
  bool may_be_repeated() const { return is_safe() || route_->spec.rules.retry.unsafe; }
  io::Task<bool> pause(Mono until, const PlaceQueue::Place* place);
  std::optional<Problem> over_rate();
  Duration rate_wait(const spec::RateLimit& rate);
  Priority priority() const;
  std::uint64_t hash_key();
  AttemptEnd enter_backend();
  io::Task<AttemptEnd> wait_for_place();
  Endpoint* next_endpoint();
  static Problem problem_of(AttemptEnd end);
  io::Task<AttemptEnd> attempt();
  io::Task<AttemptEnd> converse(Endpoint& endpoint);
  void choose_repeat(Endpoint& endpoint, const Attempt& attempt, AttemptEnd end);
  AttemptOrder::Declines decliner();
  bool has_time(Duration pause) const;
  std::unique_ptr<Upstream> reuse(Endpoint& endpoint) const;
  io::Task<bool> connect(Endpoint& endpoint);

  void on_client_activity() override;
  void enlist();
  void on_stream() override;
  void on_waiting_message() override;
  bool leads_to(const Routing& routing, const RoutePlan& plan) const;
  Mono after(Duration duration) const { return worker_.loop().now() + duration; }
  const LimitsSpec& limits() const { return routing_->snapshot.limits; }
  bool is_safe() const;

  Worker& worker_;
  Client& client_;
  std::shared_ptr<const Routing> routing_;
  const Route* route_ = nullptr;
  std::size_t backend_ = kNoBackend;  // of routing_->backends

  // The request.
  std::string method_;
  std::string host_;
  std::string target_;
  std::string path_;  // normalised; empty: malformed
  std::string request_head_;
  std::string edited_head_;  // as the route's rules want it sent
  std::string first_body_;   // received before it was sent upstream
  http::TraceContext trace_{};
  std::unique_ptr<RequestTrace> spans_;  // null: not recorded
  std::string request_id_;               // the client's own
  http::Answers answers_;
  http::Framing framing_;
  bool is_upgrade_;
  bool is_final_recipient_;  // nobody behind the gateway may get it (Max-Forwards)
  http::Verdict desync_;
  bool reuses_upstream_ = true;
  bool is_grpc_ = false;                  // in any form
  bool is_grpc_call_ = false;             // over HTTP/2, with messages and trailers
  std::optional<Duration> grpc_timeout_;  // how long the client waits, from its request on
  Mono started_;

  // The gate.
  Pass pass_;
  std::unique_ptr<Ticket> ticket_;
  std::optional<Admission> admission_;
  io::Event changed_;  // admitted, or something happened to the client while it is held
  Duration held_{};
  HoldRefusal refusal_{};
  bool client_gone_ = false;

  // Places taken; the loads outlive them.
  RouteLoad* route_load_ = nullptr;
  PlaceQueue::Place route_place_;
  Backend* at_ = nullptr;
  PlaceQueue::Place place_;  // in `at_`
  RetryTokens::Token retry_token_;

  // The attempts.
  std::unique_ptr<Upstream> upstream_;
  Attempt* attempt_ = nullptr;
  bool enlisted_ = false;  // with Rehoming
  std::vector<Endpoint*> tried_;
  Endpoint* again_ = nullptr;  // the next attempt goes there, on a new connection
  bool repeatable_ = false;    // the attempt that died may be made again without doing it twice
  bool body_went_by_ = false;  // a part of the body that is not kept was sent
  std::int64_t retries_ = 0;
  bool declined_ = false;   // the answer of the last attempt
  Duration retry_after_{};  // what that answer asked for
  std::string upstream_address_;

  // The answer.
  int status_ = 0;
  std::uint64_t bytes_out_ = 0;
  const char* reason_ = "";  // of an own reply
  std::string unreachable_;  // why the endpoint asked last could not be connected to
  Duration first_byte_{};
};

}  // namespace banyan::gateway
