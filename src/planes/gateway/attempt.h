#pragma once
// Attempt: one try to have a request answered over one upstream.
//
//   head + first body ─► the rest of the body up ┐ at the same time, each with backpressure
//                        response down ──────────┘
//
// Once a byte of the answer is with the client there is no other attempt. The end of the client's
// sending is no abort; a client that is gone is.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "io/event.h"
#include "io/task.h"
#include "planes/gateway/client.h"
#include "planes/gateway/grpc_call.h"
#include "planes/gateway/long_stream.h"
#include "planes/gateway/snapshot.h"
#include "planes/gateway/upstream.h"

namespace banyan::gateway {

class MinRate;
class Worker;

enum class AttemptEnd : std::uint8_t {
  kAnswered,
  kCutOff,  // the answer began and could not be carried to its end
  kClientGone,
  kNoRoute,
  kOwnAnswer,  // by the snapshot now in force the gateway itself answers
  kNoPlace,    // the backend, or the route, has as many requests inside as it may
  kNoEndpoint,
  kUnreachable,  // no connection: nothing was sent
  kDeclined,     // an answer came and was not passed on: there is another try
  kDied,         // the connection ended before the first byte of an answer
  kBadResponse,
  kLate,
  kBodyMalformed,
  kBodyTooLarge,
  kBodyLate,
  kLeft,  // a gRPC call without an answer yet was ended for its client to call again
};

class AttemptOwner : public GrpcCallOwner {
 public:
  // The answer turned out to be endless.
  virtual void on_stream() = 0;

 protected:
  ~AttemptOwner() = default;
};

// What an attempt serves: the request as the exchange keeps it for another attempt.
struct AttemptOrder {
  // Asked about a final answer before any of it is passed on: is there another try instead?
  using Declines = std::function<bool(int status, Duration retry_after)>;

  Worker& worker;
  Client& client;
  const LimitsSpec& limits;
  OutgoingRequest request;
  std::string_view first_body;  // received before the attempt
  bool is_upgrade = false;
  bool is_grpc = false;
  Duration response_time{};          // until the answer begins
  Mono response_until = io::kNever;  // the same for all tries, by the client or the route
  std::int64_t body_bytes_max = 0;   // of the request; 0: no limit
  const RouteSpec* edits = nullptr;  // the rules by which the answer's head is changed
  std::string_view authority = {};   // of the client's request, for those rules
  Declines declines = {};            // empty: no
  AttemptOwner& owner;
};

class Attempt final : private ClientObserver {
 public:
  Attempt(const AttemptOrder& order, Upstream& upstream);
  Attempt(const Attempt&) = delete;
  Attempt& operator=(const Attempt&) = delete;

  io::Task<AttemptEnd> run();
  // Makes everything that `run` waits for end.
  void cancel();
  // Of a gRPC call, or once the owner heard `on_stream`: ends where that loses nothing; see
  // LongStream. False: not now, ask again.
  bool leave(int close_code);
  // Null: it is none.
  GrpcCall* grpc_call() { return call_ ? &*call_ : nullptr; }

  // 0: no final answer has begun.
  int status() const { return status_; }
  // When the answer began.
  Mono answered_at() const { return answered_at_; }
  std::uint64_t bytes_out() const { return bytes_out_; }
  // Nothing of the request can have been seen by the upstream.
  bool sent_nothing() const { return sent_bytes_ == 0 || upstream_.is_unprocessed(); }
  // A part of the body went by that is not kept: there can be no other attempt.
  bool began_upload() const { return uploading_; }
  // Until the answer began, and what it asked for in Retry-After.
  Duration took() const { return answered_at_ - began_at_; }
  Duration retry_after() const { return retry_after_; }
  bool is_reusable() const {
    return !stopped_upload_ && client_.incoming().done && upstream_.is_reusable();
  }

 private:
  void begin_call();
  io::Detached upload();
  io::Task<BodyPiece> read_upload(MinRate& rate);
  io::Task<io::IoResult> pass_up(std::string_view bytes);
  io::Task<void> end_upload();
  std::optional<AttemptEnd> upload_problem() const;
  bool uploads() const { return uploading_ && !upload_done_.is_set(); }

  io::Task<AttemptEnd> receive_response();
  io::Task<Upstream::HeadEnd> receive_head();
  AttemptEnd unanswered(Upstream::HeadEnd end) const;
  bool edit_head();
  io::Task<AttemptEnd> relay_response();
  io::Task<AttemptEnd> relay_rest();
  io::Task<AttemptEnd> relay_events(BodyPart first);
  io::Task<AttemptEnd> relay_call();
  BodyPart part(std::string_view bytes) const;
  bool can_pass_by() const;
  io::Task<io::IoStatus> pass_by(Duration idle);

  io::Task<AttemptEnd> tunnel();
  void begin_stream(LongStream& stream);

  void on_client_activity() override;
  Mono after(Duration duration) const;

  const AttemptOrder& order_;
  Worker& worker_;
  Client& client_;
  Upstream& upstream_;
  const LimitsSpec& limits_;

  std::size_t sent_bytes_ = 0;
  std::optional<AttemptEnd> upload_end_;  // set when the upload failed
  bool uploading_ = false;
  bool stop_upload_ = false;
  bool stopped_upload_ = false;
  bool client_gone_ = false;
  io::Event upload_done_;

  int status_ = 0;
  Mono answered_at_{};
  std::uint64_t bytes_out_ = 0;
  std::string edited_head_;
  bool is_event_stream_ = false;
  bool may_be_silent_ = false;  // gRPC
  std::optional<GrpcCall> call_;
  LongStream* stream_ = nullptr;   // runs
  std::optional<int> leave_code_;  // asked for before it ran
  Mono began_at_{};
  Duration retry_after_{};
};

}  // namespace banyan::gateway
