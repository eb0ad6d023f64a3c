#include "base/fail_point.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

namespace banyan {
namespace {

namespace fs = std::filesystem;

constexpr auto kLongestStop = std::chrono::seconds(10);

void stop_until_gone(const fs::path& reached) {
  std::error_code absent;
  const auto deadline = std::chrono::steady_clock::now() + kLongestStop;
  while (fs::exists(reached, absent) && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

Result<void> act_on(const fs::path& order) {
  std::error_code absent;
  const auto taken = fs::path(order.string() + "." + std::to_string(getpid()));
  fs::rename(order, taken, absent);  // of several threads one takes it
  if (absent) return {};
  const fs::path reached = order.string() + ".reached";
  std::string action;
  long ms = 0;
  std::ifstream(taken) >> action >> ms;
  fs::remove(taken, absent);
  std::ofstream{reached};
  if (action == "stop") stop_until_gone(reached);
  if (action == "kill") ::kill(::getpid(), SIGKILL);
  if (action == "delay") std::this_thread::sleep_for(std::chrono::milliseconds(ms));
  if (action != "error") return {};
  return failure(Code::kUnavailable, "fail point " + order.filename().string(), Retry::kSafe);
}

}  // namespace

Result<void> fail_point(std::string_view name) {
  static const char* const folder = std::getenv("BANYAN_CHECKPOINTS");  // NOLINT
  return folder == nullptr ? Result<void>() : act_on(fs::path(folder) / name);
}

}  // namespace banyan
