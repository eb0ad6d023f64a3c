#pragma once
// HealthProbe: asks many instances at once whether they are well. One thread.
//
// A probe is GET path with the given Host; 200 to 399 within the timeout is healthy. Without a path
// it is enough that the address accepts a connection.

#include <string>
#include <vector>

#include "base/clock.h"

namespace banyan::fleet {

struct ProbeTarget {
  std::string instance;
  std::string host;  // IPv4
  int port = 0;
  std::string path;
  std::string host_header;
  Duration timeout = 2s;
};

enum class Health : std::uint8_t { kGood, kBad };

struct ProbeOutcome {
  std::string instance;
  Health health = Health::kBad;
};

class HealthProbe {
 public:
  explicit HealthProbe(const Clock& clock) : clock_(clock) {}
  ~HealthProbe();
  HealthProbe(const HealthProbe&) = delete;
  HealthProbe& operator=(const HealthProbe&) = delete;

  // Begins a probe, unless one of this instance is under way.
  void begin(const ProbeTarget& target);
  // Works on the probes under way for `wait`, and gives those that ended.
  std::vector<ProbeOutcome> run(Duration wait);

 private:
  struct Probe {
    std::string instance;
    int fd = -1;
    std::string request;  // what is still to be sent
    std::string answer;
    bool connect_only = false;
    Mono deadline{};
  };
  enum class Progress : std::uint8_t { kWaiting, kGood, kBad };

  static Progress advance(Probe& probe, short events);
  void collect(std::vector<ProbeOutcome>& outcomes, std::size_t index, Progress progress);

  const Clock& clock_;
  std::vector<Probe> probes_;
  std::vector<ProbeOutcome> failed_at_once_;
};

}  // namespace banyan::fleet
