#include "planes/files/delete_guard.h"

#include <algorithm>

namespace banyan::files {
namespace {

constexpr std::int64_t kBatchMin = 100;
constexpr std::int64_t kBatchShare = 100;  // one in a hundred
constexpr std::int64_t kWindowMin = 1000;
constexpr std::int64_t kWindowShare = 2;
constexpr auto kWindow = std::chrono::minutes(1);

}  // namespace

bool DeleteGuard::admits_batch(std::size_t missing, std::int64_t known) {
  if (static_cast<std::int64_t>(missing) > std::max(kBatchMin, known / kBatchShare)) return false;
  state_.with([&](State& state) { state.prepaid += missing; });
  return true;
}

bool DeleteGuard::admits_one(std::int64_t known) {
  const Mono now = clock_.now();
  return state_.with([&](State& state) {
    if (state.prepaid > 0) {
      state.prepaid--;
      return true;
    }
    while (!state.recent.empty() && state.recent.front() + kWindow < now) state.recent.pop_front();
    const auto count = static_cast<std::int64_t>(state.recent.size());
    if (count >= std::max(kWindowMin, (known + count) / kWindowShare)) return false;
    state.recent.push_back(now);
    return true;
  });
}

void DeleteGuard::hold(const std::string& path) {
  state_.with([&](State& state) { state.held.insert(path); });
}
void DeleteGuard::release(const std::string& path) {
  state_.with([&](State& state) { state.held.erase(path); });
}
std::size_t DeleteGuard::held() const {
  return state_.with([](const State& state) { return state.held.size(); });
}

std::vector<std::string> DeleteGuard::confirm(std::size_t most) {
  return state_.with([&](State& state) -> std::vector<std::string> {
    if (state.held.size() > most) return {};
    std::vector<std::string> paths(state.held.begin(), state.held.end());
    state.prepaid += paths.size();
    state.held.clear();
    return paths;
  });
}

void DeleteGuard::clear() {
  state_.with([](State& state) { state = {}; });
}

}  // namespace banyan::files
