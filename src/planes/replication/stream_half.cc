#include "planes/replication/stream_half.h"

#include <algorithm>

#include "base/clock.h"
#include "base/log.h"
#include "planes/replication/back_off.h"

namespace banyan::replication {
namespace {

constexpr auto kBackOffLeast = 100ms;
constexpr auto kBackOffMost = 5000ms;

}  // namespace

void StreamHalf::run(const std::string& stream, const Session& session,
                     const std::stop_token& stop) {
  Duration back_off = kBackOffLeast;
  while (!stop.stop_requested()) {
    const auto began = SystemClock().now();
    const auto ended = session(stop);
    if (stop.stop_requested()) return;
    if (ended) continue;
    log_warn("stream interrupted",
             {{"stream", stream}, {"half", name_}, {"error", ended.error().message()}});
    if (!may_pass(ended.error())) return set(StreamState::kFailed, ended.error());
    set(StreamState::kWaiting, ended.error());
    if (SystemClock().now() - began > 10s) back_off = kBackOffLeast;
    sleep_unless_stopped(stop, back_off);
    back_off = std::min<Duration>(back_off * 2, kBackOffMost);
  }
}

void StreamHalf::set(StreamState state, std::optional<Error> error) {
  standing_.with([&](Standing& standing) { standing = {state, std::move(error)}; });
}

StreamHalf::Standing StreamHalf::standing() const {
  return standing_.with([](const Standing& standing) { return standing; });
}

}  // namespace banyan::replication
