#include "planes/files/dirty_paths.h"

#include <algorithm>

namespace banyan::files {

void DirtyPaths::mark(const std::string& path, const DirtyMark& about) {
  const Mono now = clock_.now();
  state_.change([&](State& state) {
    const std::int64_t number = ++state.marks;
    const auto [at, added] = state.entries.try_emplace(path);
    Entry& entry = at->second;
    if (!added) {
      if (entry.in_hand && entry.mark_again == 0) entry.mark_again = number;
      return;
    }
    entry = {.mark = number, .since = now, .about = about};
    state.by_mark.emplace(number, path);
    state.sums.bytes += about.bytes;
    state.sums.new_files += about.is_new ? 1 : 0;
    state.due.emplace(now, path);
  });
}

std::optional<DirtyTask> DirtyPaths::take(Duration timeout) {
  const Mono end = clock_.now() + timeout;
  while (true) {
    std::optional<DirtyTask> task;
    Mono next = end;
    state_.with([&](State& state) {
      if (state.due.empty()) return;
      const auto first = state.due.begin();
      next = std::min(end, first->first);
      if (first->first > clock_.now()) return;
      Entry& entry = state.entries.at(first->second);
      entry.in_hand = true;
      task = DirtyTask{
          .path = first->second, .attempts = entry.attempts, .age = clock_.now() - entry.since};
      state.due.erase(first);
    });
    const Mono now = clock_.now();
    if (task || now >= end) return task;
    state_.wait_for(std::max<Duration>(next - now, 1ms), [&](State& state) {
      return !state.due.empty() && state.due.begin()->first <= clock_.now();
    });
  }
}

void DirtyPaths::subtract(State& state, const Entry& entry) {
  state.sums.bytes -= entry.about.bytes;
  state.sums.new_files -= entry.about.is_new ? 1 : 0;
  state.by_mark.erase(entry.mark);
}

void DirtyPaths::settle(const std::string& path) {
  const Mono now = clock_.now();
  state_.change([&](State& state) {
    const auto at = state.entries.find(path);
    if (at == state.entries.end()) return;
    Entry& entry = at->second;
    subtract(state, entry);
    if (entry.mark_again == 0) {
      state.entries.erase(at);
      return;
    }
    entry = {.mark = entry.mark_again, .since = now, .about = {}};
    state.by_mark.emplace(entry.mark, path);
    state.due.emplace(now, path);
  });
}

void DirtyPaths::retry(const std::string& path, Duration pause) {
  state_.change([&](State& state) {
    const auto at = state.entries.find(path);
    if (at == state.entries.end()) return;
    at->second.in_hand = false;
    at->second.mark_again = 0;
    at->second.attempts++;
    state.due.emplace(clock_.now() + pause, path);
  });
}

DirtyStats DirtyPaths::stats() const {
  return state_.with([&](const State& state) {
    DirtyStats stats = state.sums;
    stats.paths = state.entries.size();
    if (!state.by_mark.empty()) {
      stats.oldest = clock_.now() - state.entries.at(state.by_mark.begin()->second).since;
    }
    return stats;
  });
}

bool DirtyPaths::is_dirty(const std::string& path) const {
  return state_.with([&](const State& state) { return state.entries.contains(path); });
}
std::size_t DirtyPaths::size() const {
  return state_.with([](const State& state) { return state.entries.size(); });
}
std::int64_t DirtyPaths::newest_mark() const {
  return state_.with([](const State& state) { return state.marks; });
}

bool DirtyPaths::is_settled(const State& state, std::int64_t mark) {
  return state.by_mark.empty() || state.by_mark.begin()->first > mark;
}

bool DirtyPaths::wait_settled(std::int64_t mark, Duration timeout) {
  return state_.wait_for(timeout, [&](const State& state) { return is_settled(state, mark); });
}

std::optional<std::string> DirtyPaths::unsettled(std::int64_t mark) const {
  return state_.with([&](const State& state) -> std::optional<std::string> {
    if (is_settled(state, mark)) return std::nullopt;
    return state.by_mark.begin()->second;
  });
}

void DirtyPaths::clear() {
  state_.change([](State& state) {
    state.entries.clear();
    state.due.clear();
    state.by_mark.clear();
    state.sums = {};
  });
}

}  // namespace banyan::files
