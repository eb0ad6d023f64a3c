#pragma once
// BarrierProof: the proof of a switch. While both sides stand still behind the barrier a snapshot
// is taken on each (milliseconds); after the opening they are compared outside the pause: first
// what was not proven yet, then every row. What differs was lost or changed before or by the
// switch, whatever was written since.
//
//   none --hold--> held --prove--> running --> equal | different | failed
//                    +---drop---> none     (the act was aborted)     |
//                                          ^------- prove_by --------+
//   Kept in memory: with the role's death the snapshots end. What the proof does not hold then is
//   compared as it is (prove_by).
//
// The snapshots keep the servers from cleaning up; after kLongest no more is compared. In the
// background: one session on each side, which rests as long as it works. Any thread.

#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "base/guarded.h"
#include "planes/replication/act.h"
#include "planes/replication/proof_pass.h"

namespace banyan::replication {

class BarrierProof {
 public:
  using Compare = std::function<Result<Verdict>(const std::stop_token&)>;

  explicit BarrierProof(Proof& proof) : proof_(proof) {}
  ~BarrierProof() { stop(); }
  // Opens the sessions, so that hold() needs no more than two statements.
  Result<void> warm(const Sides& sides, SideName active, Direction direction);
  Result<void> hold(Epoch epoch);
  void drop();
  // Begins to compare what is held; nothing otherwise.
  void prove();
  // Begins to compare in another way what is not proven of the act with this epoch.
  void prove_by(Compare compare, Epoch epoch);
  // What differed does no more.
  void resolve(Epoch epoch);
  void stop();
  // "none", "held", ...; with the verdict when there is one.
  std::string state() const;
  std::optional<Verdict> verdict() const;
  std::string error() const;

 private:
  struct Standing {
    std::string state = "none";
    std::string error;
    std::optional<Verdict> verdict;
  };
  // What is compared: by the barrier's snapshots.
  struct Held {
    Direction direction;
    SideName active = SideName::kOld;
    std::vector<SessionPair> pairs;
    std::unique_ptr<ProofPass> unproven;
    std::unique_ptr<ProofPass> all;
    Epoch epoch;
  };
  void set(std::string state);
  void run(const Compare& compare, Epoch epoch, const std::stop_token& stop);

  Proof& proof_;
  Guarded<Standing> standing_;
  Guarded<std::shared_ptr<Held>> held_;
  Guarded<std::jthread> thread_;
};

}  // namespace banyan::replication
