#pragma once
// Errand: a long piece of work that is asked for over and over until it has ended. The first call
// begins it in a thread of its own, every call waits a while for its end, and a finished outcome is
// told once: the next call begins anew. Any thread.

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/guarded.h"

namespace banyan::replication {

class Errand {
 public:
  using Work = std::function<Result<nlohmann::json>(const std::stop_token&)>;

  // The outcome; nothing while it still runs.
  std::optional<Result<nlohmann::json>> run(Work work, Duration wait) {
    const bool begin = state_.with([](State& state) {
      const bool idle = !state.is_running && !state.outcome;
      state.is_running = state.is_running || idle;
      return idle;
    });
    if (begin) launch(std::move(work));
    state_.wait_for(wait, [](const State& state) { return !state.is_running; });
    return state_.with([](State& state) {
      return state.is_running ? std::nullopt : std::exchange(state.outcome, std::nullopt);
    });
  }
  // Asks it to end, and waits for that.
  void stop() {
    thread_.with([](std::jthread& thread) { thread = std::jthread(); });
  }

 private:
  struct State {
    bool is_running = false;
    std::optional<Result<nlohmann::json>> outcome;
  };
  void launch(Work work) {
    thread_.with([&](std::jthread& thread) {
      thread = std::jthread([this, work = std::move(work)](const std::stop_token& stop) {
        auto outcome = work(stop);
        state_.change([&](State& state) {
          state.is_running = false;
          state.outcome = std::move(outcome);
        });
      });
    });
  }

  Guarded<State> state_;
  Guarded<std::jthread> thread_;
};

}  // namespace banyan::replication
