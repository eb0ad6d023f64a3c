#pragma once
// Tunnel: both directions after 101, until both sides have ended or it is left.
//
// A WebSocket is left as RFC 6455 section 7 has it:
//   client ◄── Close ── gateway            between two frames; nothing of the backend follows
//   client ─── ... Close ──────► backend   what the client still says arrives, its answer too
//   client                       backend   each side ends; one that does not is cut
// A client that does not answer in time: the gateway itself says Close to the backend. What is no
// WebSocket, or speaks no frames, is cut.

#include <cstdint>

#include "io/event.h"
#include "io/task.h"
#include "planes/gateway/client.h"
#include "planes/gateway/long_stream.h"
#include "planes/gateway/upstream.h"
#include "wire/http/websocket.h"

namespace banyan::gateway {

class Tunnel final : public LongStream {
 public:
  struct Options {
    Duration idle{};           // of both directions
    bool is_websocket = true;  // else its bytes are not looked at
    std::uint32_t mask = 0;    // by chance; of the gateway's own Close to the backend
  };
  // `first`: what the backend sent with its head; it goes to the client with that.
  Tunnel(io::Loop& loop, Client& client, Upstream& upstream, std::string_view first,
         Options options);

  // Returns when both directions have ended.
  io::Task<void> run();
  void leave(int close_code) override;
  std::uint64_t bytes_down() const { return down_.bytes; }

 private:
  // One direction.
  struct Flow {
    explicit Flow(http::WebSocketFollower::Sender sender) : frames(sender) {}
    http::WebSocketFollower frames;
    std::uint64_t bytes = 0;
    bool leaving = false;  // ends at the next boundary
    bool woken = false;
  };
  enum class End : std::uint8_t { kEnded, kBroken, kLeft };

  io::Detached up();
  io::Task<End> pump(Side& from, Side& to, Flow& flow);
  bool may_leave(const Flow& flow) const;
  std::string_view follow(Flow& flow, std::string_view bytes) const;
  bool has_frames() const;
  io::Task<void> leave_client();
  io::Task<void> discard(Mono until);
  io::Task<void> close_upstream();
  void end_client();
  void cut();
  Mono after(Duration duration) const { return loop_.now() + duration; }

  io::Loop& loop_;
  Client& client_;
  Upstream& upstream_;
  Options options_;
  Flow down_{http::WebSocketFollower::Sender::kServer};
  Flow up_{http::WebSocketFollower::Sender::kClient};
  Mono last_pumped_{};
  int close_code_ = 0;
  Mono leave_until_ = io::kNever;
  bool client_ended_ = false;  // it was told that nothing follows
  bool upstream_ended_ = false;
  io::Event up_done_;
};

}  // namespace banyan::gateway
