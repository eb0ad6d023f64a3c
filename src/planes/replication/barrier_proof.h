#pragma once
// BarrierProof: the proof of a switch. While both sides stand still behind the barrier a snapshot
// is taken on each (milliseconds); after the opening every row of both is compared outside the
// pause. What differs was lost or changed by the switch itself, whatever was written since.
//
//   none --hold--> held --prove--> running --> equal | different | failed
//                    +---drop---> none                (the act was aborted)
//   Kept in memory: with the role's death the snapshots end, and `verify` compares what is then.
//
// The snapshots keep the servers from cleaning up; after kLongest the proof gives up. Any thread.

#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/guarded.h"
#include "planes/replication/verifier.h"

namespace banyan::replication {

class BarrierProof {
 public:
  ~BarrierProof() { stop(); }
  // Opens the sessions, so that hold() needs no more than two statements.
  Result<void> warm(const std::string& active_url, const std::string& passive_url,
                    Direction direction);
  Result<void> hold();
  void drop();
  // Begins to compare what is held; nothing otherwise.
  void prove();
  void stop();
  // "none", "held", ...; with the verdict when there is one.
  std::string state() const;
  std::optional<Verdict> verdict() const;
  std::string error() const;

 private:
  void run(const std::stop_token& stop);
  Result<Verdict> compare(const std::stop_token& stop);
  struct Standing {
    std::string state = "none";
    std::string error;
    std::optional<Verdict> verdict;
  };
  void set(std::string state);

  Guarded<Standing> standing_;
  Guarded<std::vector<SessionPair>> pairs_;
  Guarded<Direction> direction_;
  Guarded<std::jthread> thread_;
};

}  // namespace banyan::replication
