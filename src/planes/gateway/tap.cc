#include "planes/gateway/tap.h"

#include <utility>

namespace banyan::gateway {

bool TapFilter::matches(std::string_view of_route, int with_status) const {
  if (!route.empty() && route != of_route) return false;
  return status == 0 || status == with_status || status == with_status / 100;
}

void Tap::watch(TapFilter filter, Mono until) {
  filter_ = std::move(filter);
  until_ = until;
}

void Tap::note(const AccessEntry& entry) {
  if (!filter_.matches(entry.route, entry.status)) return;
  if (waiting_.lines.size() >= kLinesMax) {
    ++waiting_.dropped;
    return;
  }
  std::string line;
  format_.append(line, entry);
  line.pop_back();
  waiting_.lines.push_back(std::move(line));
}

TapLines Tap::take() {
  return std::exchange(waiting_, {});
}

}  // namespace banyan::gateway
