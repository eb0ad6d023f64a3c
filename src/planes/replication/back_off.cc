#include "planes/replication/back_off.h"

#include <condition_variable>
#include <mutex>

namespace banyan::replication {

bool may_pass(const Error& error) {
  return error.code() == Code::kUnavailable || error.code() == Code::kTimeout ||
         error.retry() == Retry::kSafe;
}

void sleep_unless_stopped(const std::stop_token& stop, Duration duration) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any never;
  never.wait_for(lock, stop, duration, [] { return false; });
}

}  // namespace banyan::replication
