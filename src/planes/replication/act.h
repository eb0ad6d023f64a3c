#pragma once
// Act: moves the right to be written from the active database to the passive one, and back. The
// protocol and its states are in act_rules.h; here are the transactions that perform it:
//
//   arm       active:  before the pause: every moved table's fence asks the gate from now on
//   fence     active:  one transaction: row -> fenced, gate closed (waits for open writers, at most
//                      lock_timeout, 3 tries), barrier row
//   await     passive: the barrier row has arrived, and is on its disk
//   handover  active:  row -> handed_over; the point of no return
//   open      passive: one transaction: row -> running, gate open, open_lsn noted. Nothing inbound
//                      can be applied any more: appliers ask the other side's row (applier.h)
//   abort     active:  one transaction: row -> running, gate open; needs the active side only
//   disarm    active:  afterwards: nobody asks the gate any more
//
// Everything is symmetric and idempotent; each verb finds out by itself from the two rows which
// side is active. Keeps one warm session per side, reopened when it died. One thread at a time.

#include <functional>
#include <optional>
#include <string>

#include "base/clock.h"
#include "planes/replication/act_rules.h"
#include "planes/replication/fence.h"

namespace banyan::replication {

struct Sides {
  std::string old_url;
  std::string new_url;
  const std::string& of(SideName side) const { return side == SideName::kOld ? old_url : new_url; }
};

class Act {
 public:
  // `forward` is the direction from the old side to the new one.
  Act(std::string migration, Sides sides, Direction forward)
      : migration_(std::move(migration)),
        sides_(std::move(sides)),
        forward_(std::move(forward)),
        backward_{forward_.to, forward_.from, forward_.mapping.reversed()} {}

  Result<Standing> state();
  // Waits for the writers of each table, some seconds while none gives way: kTimeout names those
  // that did not end. A table that the fence finds unarmed is armed in its transaction.
  Result<void> arm();
  // Whether all is disarmed: never waits long for a table. Nothing to do while a side is closed.
  Result<bool> disarm();
  // The position of the barrier in the active side's log (all of it lies before).
  Result<pg::Lsn> fence(Epoch epoch, Duration lock_timeout);
  // kTimeout when the barrier did not arrive; the fence then still stands.
  // Gives up with the error of `can_arrive`, asked again and again.
  Result<void> await(Epoch epoch, Duration timeout,
                     const std::function<Result<void>()>& can_arrive);
  Result<void> handover(Epoch epoch);
  Result<void> open(Epoch epoch);
  // kConflict after the handover.
  Result<void> abort(Epoch epoch);

  // From where in `side`'s log its writes since its last opening are streamed; 0 before the first.
  Result<pg::Lsn> open_lsn(SideName side);
  // The warm session of one side.
  Result<pg::Connection*> session(SideName side);

 private:
  const Direction& out_of(SideName side) const {
    return side == SideName::kOld ? forward_ : backward_;
  }
  Result<ArbiterRow> row(SideName side);
  Result<ArbiterRow> fresh_row(SideName side);
  Result<ArbiterRows> rows();
  Result<void> fence_once(SideName active, Epoch epoch, Duration lock_timeout);
  Result<void> fence_in_transaction(SideName active, Epoch epoch);
  Result<void> open_in_transaction(SideName side, Epoch epoch);
  Result<void> abort_in_transaction(SideName side, Epoch epoch);
  // Sets the row to `after` provided it is still `before`.
  Result<void> change_row(SideName side, const ArbiterRow& before, const ArbiterRow& after);
  Result<void> in_transaction(SideName side, const std::string& settings, auto&& body);
  Error handed_over(Epoch epoch) const;
  Error refused(std::string_view verb, Epoch epoch, const ArbiterRow& row) const;
  Error writers_stay(SideName side);
  void cancel_autovacuum(SideName side);
  std::string blockers(SideName side);

  std::string migration_;
  Sides sides_;
  Direction forward_;
  Direction backward_;
  std::optional<SideName> transaction_;  // on which side one is open
  std::optional<pg::Connection> old_session_;
  std::optional<pg::Connection> new_session_;
};

}  // namespace banyan::replication
