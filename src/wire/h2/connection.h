#pragma once
// Connection: HTTP/2 (RFC 9113, RFC 7541) as server or as client: bytes in, events out, and the
// other way round. Never touches a socket or a clock. Built on nghttp2, whose leniency it ends:
//
//   - a stream that was never opened cannot be used once a later one was (5.1.1), and frames on
//     a closed stream end the connection (5.1), except on those this side has just reset
//   - heads are bounded by what they become, not by what they are compressed to; cookies count
//   - every cheap frame that costs us work is a glitch (resets, pings, settings, priorities,
//     window updates beyond need, empty frames, errors that make us reset a stream). Glitches are
//     forgiven with time; too many at once end the connection with ENHANCE_YOUR_CALM
//
// What is received counts against the peer's window until `consume`; what is sent waits here while
// the peer's window is closed, and `waiting` says how much. Belongs to one thread.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "wire/h2/window_tuner.h"

struct nghttp2_session;

namespace banyan::h2 {

using StreamId = std::int32_t;

enum class Role : std::uint8_t { kServer, kClient };
enum class Ends : std::uint8_t { kNo, kYes };

// Error codes of RFC 9113 section 7 that users of this class say or hear.
enum class ErrorCode : std::uint32_t {
  kNone = 0,
  kProtocol = 1,
  kInternal = 2,
  kStreamClosed = 5,
  kRefusedStream = 7,
  kCancel = 8,
  kEnhanceYourCalm = 11,
};

struct Field {
  std::string_view name;
  std::string_view value;
};

struct Options {
  Role role = Role::kServer;
  std::uint32_t streams_max = 100;         // that the peer may have open
  Windows windows = {};                    // at first; they grow (window_tuner.h)
  WindowBudget* budget = nullptr;          // outlives the connection
  std::size_t head_bytes_max = 60 * 1024;  // names, values and 32 a field
  std::size_t fields_max = 100;
};

struct Head {
  std::span<const Field> fields;  // pseudo-fields first; valid during the call
  Ends ends = Ends::kNo;
  bool too_large = false;  // `fields` is not complete
};

// Called from inside `feed` and `output`: record what happened, act later.
class Handler {
 public:
  virtual void on_head(StreamId stream, const Head& head) = 0;  // of a request or a response
  virtual void on_trailers(StreamId stream, std::span<const Field> fields) = 0;
  virtual void on_data(StreamId stream, std::string_view bytes) = 0;
  virtual void on_end(StreamId stream) = 0;       // the peer has sent all
  virtual void on_writable(StreamId stream) = 0;  // little waits to be sent
  virtual void on_closed(StreamId stream, ErrorCode error) = 0;
  // The peer opens nothing more and has not looked at streams beyond `last`.
  virtual void on_goaway(StreamId last) = 0;

 protected:
  ~Handler() = default;
};

// How many glitches there are, and how many are too many.
class GlitchMeter {
 public:
  static constexpr std::int64_t kMost = 2'000;
  static constexpr std::int64_t kForgivenPerSecond = 500;

  void forgive(Mono now);
  void add(std::int64_t weight) { count_ += weight; }
  void credit(std::int64_t weight) { count_ = count_ > weight ? count_ - weight : 0; }
  bool is_too_much() const { return count_ > kMost; }
  std::int64_t count() const { return count_; }

 private:
  std::int64_t count_ = 0;
  Mono since_{};
};

class Connection {
 public:
  static constexpr std::size_t kWaitingHigh = 64 * 1024;  // writable again below half of it

  Connection(const Options& options, Handler& handler);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // False: the connection is over; send what `output` still gives, then close.
  bool feed(std::string_view bytes, Mono now);
  // Appends what is to be sent, stopping soon after `most` bytes.
  void output(std::string& out, std::size_t most);
  bool wants_output() const;
  bool is_over() const { return over_; }
  // Nothing is open and nothing more can come.
  bool is_finished() const;
  // Fixed text; empty while the peer behaved.
  std::string_view complaint() const { return complaint_; }

  // A client's request; negative when no more streams can be opened.
  StreamId request(std::span<const Field> fields, Ends ends);
  // A server's answer: `interim` any number of times, then `respond` once.
  void interim(StreamId stream, std::span<const Field> fields);
  void respond(StreamId stream, std::span<const Field> fields, Ends ends);
  // Bytes of a body are copied; after Ends::kYes nothing more.
  void send(StreamId stream, std::string_view bytes, Ends ends);
  void send_trailers(StreamId stream, std::span<const Field> fields);
  std::size_t waiting(StreamId stream) const;
  bool is_open(StreamId stream) const { return streams_.contains(stream); }
  // `bytes` of the stream's data have gone on: the peer may send as many more.
  void consume(StreamId stream, std::size_t bytes);
  void reset(StreamId stream, ErrorCode error);

  // First step of leaving: the peer should open no stream, and those on their way are served.
  void announce_end();
  // Second step: streams opened from now on are refused.
  void end();
  std::size_t streams() const { return streams_.size(); }
  // As the peer set it, for a client.
  std::uint32_t peer_streams_max() const;
  // Whether it takes WebSockets (RFC 8441, section 3); nothing before it has said its settings.
  std::optional<bool> peer_takes_websockets() const;

  struct Callbacks;

 private:
  friend struct Callbacks;
  struct Stream {
    std::string out;
    std::size_t out_at = 0;
    bool ends = false;      // nothing follows what is in `out`
    bool deferred = false;  // nghttp2 waits for more
    bool was_full = false;
    bool local_done = false;
    std::size_t unconsumed = 0;
    std::size_t received = 0;
    std::int32_t window = 0;  // 0: as the settings say
    std::vector<std::pair<std::string, std::string>> trailers;
  };
  struct FieldPlace {
    std::size_t name;
    std::size_t name_size;
    std::size_t value;
    std::size_t value_size;
  };

  std::size_t take_frame_header(std::string_view bytes);
  bool pass(std::string_view bytes);
  bool fail(ErrorCode error, std::string_view complaint);
  bool judge_frame(StreamId stream, std::uint8_t type, std::uint8_t flags);
  bool passes_ack();
  bool judge_closed(StreamId stream, std::uint8_t type);
  bool add_field(std::string_view name, std::string_view value);
  void finish_head(StreamId stream, Ends ends);
  void note_closed(StreamId stream, std::uint32_t error);
  std::int64_t fill(StreamId stream, std::span<std::uint8_t> into, std::uint32_t& flags);
  void note_local_end(StreamId stream);
  void note_data(StreamId stream, Stream& to, std::size_t bytes);
  void finish_measurement();
  void widen(StreamId stream, Stream& to);

  Options options_;
  Handler& handler_;
  nghttp2_session* session_ = nullptr;
  std::unordered_map<StreamId, Stream> streams_;
  WindowTuner tuner_;
  std::size_t unconsumed_ = 0;  // of all streams
  Mono now_{};                  // of the last `feed`
  GlitchMeter glitches_;
  bool over_ = false;
  std::string_view complaint_;

  // Where the next frame begins.
  std::size_t preface_left_;
  std::size_t payload_left_ = 0;
  std::string frame_header_;

  // The head that is being received; there is at most one.
  std::string text_;
  std::vector<FieldPlace> places_;
  std::vector<Field> fields_;
  std::size_t head_bytes_ = 0;
  bool too_large_ = false;

  StreamId highest_ = 0;          // opened by the peer
  std::vector<StreamId> opened_;  // the last ones, as a ring
  std::vector<StreamId> reset_;   // by this side, the last ones, as a ring
  std::size_t opened_at_ = 0;
  std::size_t reset_at_ = 0;
  std::uint64_t settings_acks_ = 0;
  bool has_peer_settings_ = false;
  std::uint64_t window_updates_ = 0;
  std::uint64_t data_frames_sent_ = 0;
  std::uint64_t streams_total_ = 0;
};

}  // namespace banyan::h2
