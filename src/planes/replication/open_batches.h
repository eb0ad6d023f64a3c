#pragma once
// OpenBatches: which batch waits for which, when several are written at once. Pure; one thread.
//
//   admitted in the source's order: 1, 2, 3, ...   committed in that order too
//   rows that touch nothing of an open batch   are written at once
//   the others                                 when every batch up to `after` is committed
// Because commits are in order, one number says whom a batch waits for.

#include <cstdint>
#include <deque>
#include <unordered_map>

#include "planes/replication/footprint.h"

namespace banyan::replication {

class OpenBatches {
 public:
  struct Order {
    std::int64_t number = 0;
    std::int64_t after = 0;  // below `number`; 0: for nobody
    Touches shared{};        // with batches that are open now
  };
  Order admit(Footprint footprint);
  // The first one that is open.
  void commit_first();
  std::size_t size() const { return open_.size(); }

 private:
  struct Last {
    std::int64_t writer = 0;
    std::int64_t reader = 0;
  };
  std::unordered_map<Touch, Last> last_;  // of open batches only
  std::deque<Footprint> open_;
  std::int64_t committed_ = 0;
};

}  // namespace banyan::replication
