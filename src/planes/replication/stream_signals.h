#pragma once
// StreamSignals: what both halves of a stream and its supervisor tell one another. Any thread.

#include <atomic>
#include <cstdint>

namespace banyan::replication {

// Positions are those of the source.
struct StreamSignals {
  std::atomic<std::uint64_t> durable{0};      // in the target
  std::atomic<std::uint64_t> received{0};     // how far the server says it has sent
  std::atomic<std::uint64_t> confirmed{0};    // what the server was told it may forget
  std::atomic<std::uint64_t> in_progress{0};  // transactions that wait for their commit
  std::atomic<bool> is_wal_short{false};      // the server has to keep too much
};

}  // namespace banyan::replication
