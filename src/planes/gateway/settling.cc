#include "planes/gateway/settling.h"

#include <utility>

#include "planes/gateway/exchange.h"

namespace banyan::gateway {
namespace {

constexpr Duration kLookAgain = 20ms;

}  // namespace

void Settling::note(Phase phase) {
  const bool holds = phase != Phase::kOpen;
  if (std::exchange(holds_, holds) == holds) return;
  if (holds)
    arm(loop_.now() + rules_.settle);
  else
    calls_.for_each([](Exchange& call) { call.carry_on(); });
}

void Settling::on_expired() {
  if (!holds_) return;
  calls_.for_each([](Exchange& call) { call.settle(); });
  arm(loop_.now() + kLookAgain);
}

}  // namespace banyan::gateway
