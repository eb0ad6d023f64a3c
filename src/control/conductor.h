#pragma once
// Conductor: carries one attempt of a cutover to its end: observe → next_act → journal the intent →
// do it → journal the outcome. It returns only when the door is open again, on exactly one side.
//
// kill -9 at any moment: resume() of the next process finds the open act in the journal, observes
// and finishes it: forward when the decision was taken, else back to the old side.
// One conductor at a time per migration; its own thread.

#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "migration/ports.h"
#include "store/journal.h"

namespace banyan::control {

struct Conclusion {
  bool moved = false;   // the new side of the attempt serves
  std::string why_not;  // when it does not
};

struct ConductorLimits {
  Duration to_decision = 8s;     // from the closed door to the hand-over; then abort
  Duration retry_pause = 100ms;  // between looks at a world that cannot be seen
  Duration wait_pause = 2ms;     // between looks while requests drain
};

class Conductor {
 public:
  Conductor(migration::World& world, store::Journal& journal, const Clock& clock,
            ConductorLimits limits)
      : world_(world), journal_(journal), clock_(clock), limits_(limits) {}

  // Journals the act's opening, then runs it to its end.
  Result<Conclusion> run(const migration::Attempt& attempt);
  // Finishes the migration's open act, if there is one. {} when there was none.
  Result<std::optional<Conclusion>> resume(const std::string& migration);

 private:
  struct Progress;

  Result<Conclusion> carry_on(const migration::Attempt& attempt, migration::Intent intent,
                              std::string why);
  void tick(const migration::Attempt& attempt, Progress& progress);
  void act_once(const migration::Attempt& attempt, Progress& progress, migration::Act act);
  void failed(Progress& progress, migration::Act act, const Error& error);
  Result<void> note(const migration::Attempt& attempt, std::string_view step, store::EntryKind kind,
                    nlohmann::json detail);
  Result<void> conclude(const migration::Attempt& attempt, const Conclusion& conclusion);

  migration::World& world_;
  store::Journal& journal_;
  const Clock& clock_;
  ConductorLimits limits_;
};

}  // namespace banyan::control
