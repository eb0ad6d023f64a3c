#pragma once
// ApplyLanes: several sessions that write batches at once and commit them in the source's order.
//
//   given ──► writing: rows that touch nothing of an open batch
//                │  until the batches it shares rows with are committed (OpenBatches)
//                ▼
//             the rest ──► waits for its turn ──► moves the progress, commits ──► committed
//   a failure beside open batches, or the others' progress blocked by it:
//             rolled back ──► waits for its turn ──► written alone, as any batch
//
// So one position stays the progress, readers see what the source's commits came to, one after the
// other, and a crash anywhere leaves a prefix of them. A batch that fails alone ends the lanes:
// nothing after it is committed. Methods belong to one thread; each lane is a thread of its own.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/guarded.h"
#include "planes/replication/apply_session.h"
#include "planes/replication/open_batches.h"

namespace banyan::replication {

class ApplyLanes {
 public:
  struct Committed {
    Batch batch{};  // without its changes
    LogPositions log{};
    std::int64_t rows = 0;
    std::int64_t row_by_row = 0;
    bool is_beside = false;
    bool is_again = false;  // written anew, alone
  };

  // `plans` outlives it. The sessions claim parts 1 to `count`.
  static Result<std::unique_ptr<ApplyLanes>> open(const std::string& to_url,
                                                  const ApplySessionConfig& config, int count,
                                                  TablePlans& plans);
  // For open().
  explicit ApplyLanes(std::vector<std::unique_ptr<ApplySession>> sessions);
  // Takes back what is not committed.
  ~ApplyLanes();
  ApplyLanes(const ApplyLanes&) = delete;
  ApplyLanes& operator=(const ApplyLanes&) = delete;

  // Waits for room. `move` begins where that of the batch before ends.
  Result<void> give(Batch batch, Footprint footprint, const Move& move);
  // Waits until nothing is open.
  Result<void> drain();
  // In order; each once.
  std::vector<Committed> take_committed();
  bool is_empty() const { return open_.size() == 0; }
  // Of the batch that ended the lanes.
  std::optional<Misfit> misfit() const;

 private:
  struct Job {
    Batch batch;
    OpenBatches::Order order;
    Move move;
  };
  struct State {
    std::deque<Job> given;
    std::map<std::int64_t, int> writing;  // batch -> backend
    std::int64_t committed = 0;
    std::size_t open = 0;
    std::size_t open_bytes = 0;
    std::vector<Committed> done;
    std::optional<Error> error;
    std::optional<Misfit> misfit;
    bool is_ending = false;
    bool is_over() const { return is_ending || error; }
  };
  void run(ApplySession& session);
  std::optional<Job> next(int backend);
  Result<Committed> apply(ApplySession& session, Job& job);
  Result<void> write(ApplySession& session, const Job& job, bool& is_alone);
  Result<void> write_beside(ApplySession& session, const Job& job);
  // Until everything before `number` is committed. kConflict: an earlier batch waits for this one.
  Result<void> wait_until_after(std::int64_t number, const Job& job, ApplySession* yielding);
  Result<bool> is_in_the_way(ApplySession& session, std::int64_t number) const;
  Result<void> wait_for(const std::function<bool(const State&)>& ready);
  void collect();

  std::vector<std::unique_ptr<ApplySession>> sessions_;
  OpenBatches open_;
  std::vector<Committed> committed_;
  mutable Guarded<State> state_;
  std::vector<std::jthread> threads_;  // last: they use everything above
};

}  // namespace banyan::replication
