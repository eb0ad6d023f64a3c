#pragma once
// WindowTuner: how much a connection's peer may send before it hears that more may come. A window
// that is as large as what arrives in one round trip limits the peer: it doubles, up to a bound.
//
//   long data arrives ─► PING ─► its answer: so much came within one round trip
//                                  at least 2/3 of the window, and our side took it ─► doubles
//
// Only what is taken at once lets a window grow, so a peer gains nothing on a side that is slow.
// Connections grow out of one budget. Pure: the PINGs are its owner's to send and to hear of.

#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace banyan::h2 {

// What all connections of one thread may promise beyond their first windows, in bytes.
class WindowBudget {
 public:
  explicit WindowBudget(std::int64_t bytes) : left_(bytes) {}
  bool take(std::int64_t bytes);
  void give_back(std::int64_t bytes) { left_ += bytes; }

 private:
  std::int64_t left_;
};

struct Windows {
  std::int32_t stream = 256 * 1024;
  std::int32_t connection = 1024 * 1024;
  bool operator==(const Windows&) const = default;
};

class WindowTuner {
 public:
  static constexpr Windows kMost{.stream = 4 << 20, .connection = 8 << 20};

  // Without a budget a connection's window stays, and a stream's grows up to it.
  WindowTuner(const Windows& first, WindowBudget* budget)
      : first_(first), now_(first), budget_(budget) {}
  ~WindowTuner();
  WindowTuner(const WindowTuner&) = delete;
  WindowTuner& operator=(const WindowTuner&) = delete;

  // Data of a stream arrived. True: send a PING, and say `finish` when it is answered.
  bool note_data(std::int32_t stream, std::size_t bytes, Mono now);
  // So much of what has arrived, on the stream of the measurement and on all, waits to be taken.
  struct Waiting {
    std::size_t stream = 0;
    std::size_t connection = 0;
  };
  // True: a window has grown.
  bool finish(const Waiting& waiting, Mono now);
  bool is_measuring() const { return measuring_; }
  std::int32_t measured_stream() const { return stream_; }
  const Windows& windows() const { return now_; }

 private:
  Windows first_;
  Windows now_;
  WindowBudget* budget_;
  bool measuring_ = false;
  std::int32_t stream_ = 0;
  std::size_t of_stream_ = 0;
  std::size_t of_all_ = 0;
  std::size_t unmeasured_ = 0;
  Duration pause_ = kPauseLeast;
  Mono next_{};

  // Between two measurements; doubles while they find nothing.
  static constexpr Duration kPauseLeast = 10ms;
  static constexpr Duration kPauseMost = 10s;
};

}  // namespace banyan::h2
