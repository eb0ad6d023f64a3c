#pragma once
// StreamHalf: the receiving or the applying half of a stream: sessions, one after the other. An
// error that may pass is waited for and a new session begun, longer each time; any other ends it.
// One thread runs it; standing() from any thread.

#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "base/error.h"
#include "base/guarded.h"

namespace banyan::replication {

// In order of how bad it is.
enum class StreamState : std::uint8_t { kStopped, kRunning, kWaiting, kFailed };

class StreamHalf {
 public:
  struct Standing {
    StreamState state = StreamState::kStopped;
    std::optional<Error> error;
  };
  // `name` is for the log of this process.
  explicit StreamHalf(std::string name) : name_(std::move(name)) {}

  using Session = std::function<Result<void>(const std::stop_token&)>;
  // Returns when stopped, or failed.
  void run(const std::string& stream, const Session& session, const std::stop_token& stop);
  void set(StreamState state, std::optional<Error> error = std::nullopt);
  Standing standing() const;

 private:
  const std::string name_;
  Guarded<Standing> standing_;
};

}  // namespace banyan::replication
