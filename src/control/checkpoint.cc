#include "control/checkpoint.h"

#include <cstdlib>
#include <filesystem>
#include <thread>

namespace banyan::control {
namespace {

constexpr Duration kLongestStop = 10s;

void stop_at(const std::filesystem::path& wanted) {
  std::error_code error;
  const std::filesystem::path reached = wanted.string() + ".reached";
  std::filesystem::rename(wanted, reached, error);
  if (error) return;
  const Mono deadline = SystemClock().now() + kLongestStop;
  while (std::filesystem::exists(reached, error) && SystemClock().now() < deadline)
    std::this_thread::sleep_for(2ms);
}

}  // namespace

Conductor::Checkpoint stop_at_checkpoints() {
  const char* folder = std::getenv("BANYAN_CHECKPOINTS");  // NOLINT(concurrency-mt-unsafe)
  if (folder == nullptr) return [](migration::Act) {};
  return [folder = std::filesystem::path(folder)](migration::Act act) {
    stop_at(folder / migration::act_name(act));
  };
}

}  // namespace banyan::control
