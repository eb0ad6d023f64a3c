#include "wire/h2/window_tuner.h"

#include <algorithm>

namespace banyan::h2 {
namespace {

// It came within one round trip, filled the window, and does not lie about.
bool is_the_limit(std::int32_t window, std::size_t came, std::size_t waiting) {
  const auto size = static_cast<std::size_t>(window);
  return came * 3 >= size * 2 && waiting * 2 <= size;
}

}  // namespace

bool WindowBudget::take(std::int64_t bytes) {
  if (bytes > left_) return false;
  left_ -= bytes;
  return true;
}

WindowTuner::~WindowTuner() {
  if (budget_ != nullptr) budget_->give_back(now_.connection - first_.connection);
}

bool WindowTuner::note_data(std::int32_t stream, std::size_t bytes, Mono now) {
  if (measuring_) {
    of_all_ += bytes;
    if (stream == stream_) of_stream_ += bytes;
    return false;
  }
  unmeasured_ += bytes;
  if (unmeasured_ * 2 < static_cast<std::size_t>(now_.stream) || now < next_) return false;
  measuring_ = true;
  stream_ = stream;
  of_stream_ = of_all_ = unmeasured_ = 0;
  return true;
}

bool WindowTuner::finish(const Waiting& waiting, Mono now) {
  measuring_ = false;
  const Windows before = now_;
  const std::int32_t more = std::min(now_.connection, kMost.connection - now_.connection);
  if (is_the_limit(now_.connection, of_all_, waiting.connection) && more > 0 &&
      budget_ != nullptr && budget_->take(more))
    now_.connection += more;
  if (is_the_limit(now_.stream, of_stream_, waiting.stream))
    now_.stream = std::min({now_.stream * 2, now_.connection, kMost.stream});
  const bool grew = now_ != before;
  pause_ = grew ? kPauseLeast : std::min(pause_ * 2, kPauseMost);
  next_ = now + pause_;
  return grew;
}

}  // namespace banyan::h2
