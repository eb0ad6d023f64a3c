#include "planes/gateway/ejection.h"

#include <algorithm>

namespace banyan::gateway {
namespace {

constexpr int kDoublingsMax = 20;

}  // namespace

int ejections_max(const spec::Eject& rules, int endpoints) {
  if (rules.max_percent == 0 || endpoints < 2) return 0;
  return std::max(1, endpoints * rules.max_percent / 100);
}

void Ejection::eject(Mono now) {
  const Duration time = std::min<Duration>(rules_.cap, rules_.base * (1LL << doublings_));
  doublings_ = std::min(doublings_ + 1, kDoublingsMax);
  failures_ = errors_ = 0;
  out_until_ = now + time;
  ++ejections_;
}

void Ejection::note_failure(Mono now, bool may_eject) {
  const bool on_probation = out_until_ != Mono{} && now >= out_until_;
  ++failures_;
  if (on_probation || (may_eject && failures_ >= rules_.failures)) eject(now);
}

void Ejection::note_answer(int status, Mono now, bool may_eject) {
  failures_ = 0;
  if (status >= 500 && rules_.errors > 0) {
    const bool on_probation = out_until_ != Mono{} && now >= out_until_;
    ++errors_;
    if (on_probation || (may_eject && errors_ >= rules_.errors)) eject(now);
    return;
  }
  errors_ = 0;
  if (is_out(now)) return;  // an answer from before it was ejected
  if (out_until_ == Mono{}) doublings_ = std::max(0, doublings_ - 1);
  out_until_ = {};
}

}  // namespace banyan::gateway
