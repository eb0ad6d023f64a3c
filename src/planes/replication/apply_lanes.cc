#include "planes/replication/apply_lanes.h"

#include <fmt/format.h>

#include "base/fail_point.h"
#include "base/log.h"

namespace banyan::replication {
namespace {

constexpr std::size_t kOpenBytesMost = 64 << 20;
constexpr auto kLookEvery = 250ms;  // whether an earlier batch waits for a later one

// Whether any of the first {1} backends of {0} waits for this one, however many wait in between.
constexpr const char* kReached = R"(
with recursive
  lane as (select * from pg_catalog.unnest('{{{0}}}'::int4[]) with ordinality l(pid, place)),
  wait as (select place, pid, pg_catalog.unnest(pg_catalog.pg_blocking_pids(pid)) as holder
           from lane),
  reached(pid) as (select holder from wait where place <= {1}
                   union select wait.holder from wait join reached using (pid))
select 1 from reached where pid = pg_catalog.pg_backend_pid())";

}  // namespace

Result<std::unique_ptr<ApplyLanes>> ApplyLanes::open(const std::string& to_url,
                                                     const ApplySessionConfig& config, int count,
                                                     TablePlans& plans) {
  std::vector<std::unique_ptr<ApplySession>> sessions;
  for (int part = 1; part <= count; ++part) {
    auto own = config;
    own.part = part;
    TRY(auto connection, ApplySession::connect(to_url, config.migration, config.stream));
    TRY_VOID(claim_part(connection, config.stream, part, config.epoch));
    sessions.push_back(std::make_unique<ApplySession>(std::move(connection), std::move(own), plans,
                                                      BatchWriterConfig{}));
  }
  return std::make_unique<ApplyLanes>(std::move(sessions));
}

ApplyLanes::ApplyLanes(std::vector<std::unique_ptr<ApplySession>> sessions)
    : sessions_(std::move(sessions)) {
  for (auto& session : sessions_) threads_.emplace_back([this, &session] { run(*session); });
}

ApplyLanes::~ApplyLanes() {
  state_.change([](State& state) { state.is_ending = true; });
}

Result<void> ApplyLanes::wait_for(const std::function<bool(const State&)>& ready) {
  const auto may_go = [&](const State& state) { return state.is_over() || ready(state); };
  while (!state_.wait_for(1s, may_go)) {
  }
  return state_.with([](const State& state) -> Result<void> {
    if (state.error) return std::unexpected(*state.error);
    if (state.is_ending) return failure(Code::kCancelled, "stopped");
    return {};
  });
}

Result<void> ApplyLanes::give(Batch batch, Footprint footprint, const Move& move) {
  const auto bytes = batch.bytes;
  TRY_VOID(wait_for([&](const State& state) {
    return state.open == 0 ||
           (state.open <= sessions_.size() && state.open_bytes + bytes <= kOpenBytesMost);
  }));
  collect();
  auto order = open_.admit(std::move(footprint));
  state_.change([&](State& state) {
    state.given.push_back({std::move(batch), std::move(order), move});
    ++state.open;
    state.open_bytes += bytes;
  });
  return {};
}

Result<void> ApplyLanes::drain() {
  const auto drained = wait_for([](const State& state) { return state.open == 0; });
  collect();
  return drained;
}

void ApplyLanes::collect() {
  auto done = state_.with([](State& state) { return std::exchange(state.done, {}); });
  for (auto& one : done) {
    open_.commit_first();
    committed_.push_back(std::move(one));
  }
}

std::vector<ApplyLanes::Committed> ApplyLanes::take_committed() {
  collect();
  return std::exchange(committed_, {});
}

std::optional<Misfit> ApplyLanes::misfit() const {
  return state_.with([](const State& state) { return state.misfit; });
}

std::optional<ApplyLanes::Job> ApplyLanes::next(int backend) {
  const auto ready = wait_for([](const State& state) { return !state.given.empty(); });
  if (!ready) return std::nullopt;
  return state_.with([&](State& state) -> std::optional<Job> {
    if (state.given.empty()) return std::nullopt;
    auto job = std::move(state.given.front());
    state.given.pop_front();
    state.writing[job.order.number] = backend;
    return job;
  });
}

void ApplyLanes::run(ApplySession& session) {
  const int backend = session.connection().backend_pid();
  while (!state_.with([](const State& state) { return state.is_over(); })) {
    auto job = next(backend);
    if (!job) continue;  // another lane was faster, or it is over
    const auto number = job->order.number;
    const auto bytes = job->batch.bytes;
    auto committed = apply(session, *job);
    auto misfit = committed ? std::nullopt : session.misfit();
    state_.change([&](State& state) {
      state.writing.erase(number);
      if (!committed) {
        if (!state.is_over()) state.error = committed.error();
        if (misfit) state.misfit = std::move(misfit);
        return;
      }
      state.committed = number;
      --state.open;
      state.open_bytes -= bytes;
      state.done.push_back(*std::move(committed));
    });
  }
  // Others may still wait for its rows. The server does the same when the session ends.
  (void)session.roll_back();
}

Result<ApplyLanes::Committed> ApplyLanes::apply(ApplySession& session, Job& job) {
  bool is_alone = false;
  TRY_VOID(write(session, job, is_alone));
  TRY_VOID(fail_point("apply.beside.turn"));
  if (!is_alone) TRY_VOID(session.advance(job.move));
  TRY(const auto log, session.commit());
  job.batch.fragments.clear();
  return Committed{.batch = std::move(job.batch),
                   .log = log,
                   .rows = session.take_rows(),
                   .row_by_row = session.take_row_by_row(),
                   .is_beside = true,
                   .is_again = is_alone};
}

Result<void> ApplyLanes::write(ApplySession& session, const Job& job, bool& is_alone) {
  const auto written = write_beside(session, job);
  if (written || state_.with([](const State& state) { return state.is_over(); })) return written;
  if (!session.connection().is_alive()) return written;
  log_info("a batch waits for those before it", {{"why", written.error().message()}});
  is_alone = true;
  TRY_VOID(session.roll_back());
  TRY_VOID(wait_until_after(job.order.number - 1, job, nullptr));
  return session.write(job.batch, &job.move);
}

Result<void> ApplyLanes::write_beside(ApplySession& session, const Job& job) {
  const Beside beside{.shared = job.order.shared,
                      .wait = [&] { return wait_until_after(job.order.after, job, &session); }};
  TRY_VOID(session.write_beside(job.batch, beside));
  return wait_until_after(job.order.number - 1, job, &session);
}

Result<void> ApplyLanes::wait_until_after(std::int64_t number, const Job& job,
                                          ApplySession* yielding) {
  const auto may_go = [&](const State& state) {
    return state.is_over() || state.committed >= number;
  };
  while (!state_.wait_for(kLookEvery, may_go)) {
    if (yielding == nullptr) continue;
    TRY(const bool is_blocking, is_in_the_way(*yielding, job.order.number));
    if (is_blocking) return failure(Code::kConflict, "an earlier batch waits for its rows");
  }
  return state_.with([](const State& state) -> Result<void> {
    return state.is_over() ? Result<void>(failure(Code::kCancelled, "stopped")) : Result<void>();
  });
}

// Rows that no footprint told of: an earlier batch waits in the server for this transaction, or for
// one that waits for it, while this one waits here for the earlier. No server sees that deadlock.
Result<bool> ApplyLanes::is_in_the_way(ApplySession& session, std::int64_t number) const {
  std::string backends;  // those of earlier batches first
  int earlier = 0;
  state_.with([&](const State& state) {
    for (const auto& [batch, backend] : state.writing) {
      backends += fmt::format("{}{}", backends.empty() ? "" : ",", backend);
      if (batch < number) ++earlier;
    }
  });
  TRY(const auto rows, session.connection().query(fmt::format(kReached, backends, earlier)));
  return !rows.empty();
}

}  // namespace banyan::replication
