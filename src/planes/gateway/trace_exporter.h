#pragma once
// TraceExporter: sends spans in batches to an OpenTelemetry collector (OTLP/HTTP, JSON, with TLS if
// asked for), on a thread of its own. A request never waits for it: what finds kWaitingMax spans
// waiting is dropped and counted, and so is a batch that the collector refuses. While it is away,
// or asks to wait (429, 502, 503, 504), the last kKeptMax spans are kept and sent again, ever more
// seldom. Any thread.

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "base/guarded.h"
#include "planes/gateway/span.h"
#include "spec/traffic.h"

namespace banyan::gateway {

struct TraceCounts {
  std::uint64_t exported = 0;
  std::uint64_t dropped = 0;
};

class TraceExporter {
 public:
  static constexpr std::size_t kWaitingMax = 4096;
  static constexpr std::size_t kKeptMax = 2048;  // leaves room for new ones
  static constexpr std::size_t kBatchMax = 512;

  TraceExporter() = default;
  // What waits still goes out, unless the collector is not there.
  ~TraceExporter();
  TraceExporter(const TraceExporter&) = delete;
  TraceExporter& operator=(const TraceExporter&) = delete;

  // The thread starts when there is somewhere to send to for the first time.
  void adopt(const spec::Tracing& tracing);
  void add(Span span);
  TraceCounts counts() const { return {.exported = exported_, .dropped = dropped_}; }

 private:
  enum class Sent : std::uint8_t { kTaken, kRefused, kLater };

  void run();
  Duration send_waiting(Duration pause);
  Sent send(std::span<const Span> batch);
  void keep(std::span<const Span> spans);
  void drop(std::size_t spans, const std::string& why);
  void rest(Duration pause);

  Guarded<spec::Tracing> tracing_;
  Guarded<std::vector<Span>> waiting_;
  std::atomic<bool> stopping_ = false;
  std::atomic<std::uint64_t> exported_ = 0;
  std::atomic<std::uint64_t> dropped_ = 0;
  bool away_ = false;  // the thread's own
  std::thread thread_;
};

}  // namespace banyan::gateway
