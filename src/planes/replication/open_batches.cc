#include "planes/replication/open_batches.h"

#include <algorithm>

#include "base/check.h"

namespace banyan::replication {

OpenBatches::Order OpenBatches::admit(Footprint footprint) {
  Order order{.number = committed_ + static_cast<std::int64_t>(open_.size()) + 1};
  const auto meet = [&](Touch touch, std::int64_t earlier) {
    if (earlier == 0) return;
    order.after = std::max(order.after, earlier);
    order.shared.insert(touch);
  };
  for (const Touch touch : footprint.reads) {
    if (const auto found = last_.find(touch); found != last_.end())
      meet(touch, found->second.writer);
  }
  for (const Touch touch : footprint.writes) {
    if (const auto found = last_.find(touch); found != last_.end()) {
      meet(touch, std::max(found->second.writer, found->second.reader));
    }
  }
  for (const Touch touch : footprint.reads) last_[touch].reader = order.number;
  for (const Touch touch : footprint.writes) last_[touch].writer = order.number;
  open_.push_back(std::move(footprint));
  return order;
}

void OpenBatches::commit_first() {
  CHECK(!open_.empty());
  ++committed_;
  const auto forget = [&](Touch touch) {
    const auto found = last_.find(touch);
    if (found == last_.end()) return;
    auto& last = found->second;
    if (last.writer <= committed_) last.writer = 0;
    if (last.reader <= committed_) last.reader = 0;
    if (last.writer == 0 && last.reader == 0) last_.erase(found);
  };
  for (const Touch touch : open_.front().reads) forget(touch);
  for (const Touch touch : open_.front().writes) forget(touch);
  open_.pop_front();
}

}  // namespace banyan::replication
