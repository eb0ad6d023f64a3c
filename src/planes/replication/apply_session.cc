#include "planes/replication/apply_session.h"

#include <fmt/format.h>

#include <array>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/fence.h"

namespace banyan::replication {
namespace {

using Expect = BatchWriter::Expect;

constexpr std::size_t kSetsLeast = 16;  // fewer changes are cheaper one by one
constexpr const char* kPositions =
    "select pg_catalog.pg_current_wal_insert_lsn()::text || ' ' || "
    "pg_catalog.pg_current_wal_flush_lsn()::text";

Result<void> prepare(pg::Connection& session, const std::string& migration) {
  TRY_VOID(pass_fence(session, migration));
  // Not everybody may; without it user triggers and foreign keys are kept away until the opening.
  if (!session.exec("set session_replication_role = replica")) {
    log_info("applying without replica role", {{"migration", migration}});
  }
  TRY_VOID(find_extension_operators(session));
  if (session.server_version() >= 110000) TRY_VOID(session.exec("set jit = off"));
  if (session.server_version() >= 120000) {
    TRY_VOID(session.exec("set plan_cache_mode = force_generic_plan"));
  }
  return session.exec(
      "set synchronous_commit = off; set enable_seqscan = off;"
      "set enable_hashjoin = off; set enable_mergejoin = off");
}

Result<LogPositions> parse_positions(std::string_view text) {
  const auto space = text.find(' ');
  TRY(const auto inserted, pg::parse_lsn(text.substr(0, space)));
  TRY(const auto flushed, pg::parse_lsn(text.substr(space + 1)));
  return LogPositions{.inserted = inserted, .flushed = flushed};
}

}  // namespace

Result<pg::Connection> ApplySession::connect(const std::string& url, const std::string& migration,
                                             const std::string& stream) {
  TRY(auto session, pg::Connection::open(url, {.application_name = "banyan_apply " + stream}));
  TRY_VOID(prepare(session, migration));
  return session;
}

// The target transaction begins with the first part; the others can be undone by themselves.
Result<void> ApplySession::begin_part() {
  if (has_parts_) return writer_.send("savepoint", "savepoint part", {}, Expect::kAny);
  TRY_VOID(writer_.send("begin", "begin", {}, Expect::kAny));
  const auto part = std::to_string(config_.part);
  const auto epoch = std::to_string(config_.epoch);
  const std::array<pg::RawParam, 3> params{config_.stream.c_str(), part.c_str(), epoch.c_str()};
  return writer_.send("claim", mark_sql(), params, Expect::kOne);
}

Result<void> ApplySession::send_move(const Move& move) {
  if (move.barrier) {
    TRY_VOID(fail_point("apply.barrier"));
    TRY_VOID(writer_.send("barrier", "set local synchronous_commit = on", {}, Expect::kAny));
    const auto text = std::to_string(*move.barrier);
    const std::array<pg::RawParam, 2> params{config_.migration.c_str(), text.c_str()};
    TRY_VOID(writer_.send("barrier",
                          "insert into banyan.barrier(name, epoch) values ($1, $2::bigint) "
                          "on conflict do nothing",
                          params, Expect::kAny));
  }
  const auto epoch = std::to_string(config_.epoch);
  const auto before = pg::format_lsn(move.from);
  const auto after = pg::format_lsn(move.to);
  const auto barrier = std::to_string(move.barrier.value_or(move.barrier_epoch));
  const std::array<pg::RawParam, 5> params{config_.stream.c_str(), epoch.c_str(), before.c_str(),
                                           after.c_str(), barrier.c_str()};
  return writer_.send("claim", advance_sql(), params, Expect::kOne);
}

// The server commits nothing when a statement failed, but a wrong count is seen only here: so
// whatever follows waits for the answers.
Result<void> ApplySession::try_part(const Batch& batch, Way way, const Move* move) {
  TRY_VOID(begin_part());
  TRY_VOID(fail_point("apply.begun"));
  TRY_VOID(writer_.write(batch.fragments, way));
  TRY_VOID(fail_point("apply.written"));
  if (move != nullptr) {
    TRY_VOID(send_move(*move));
  } else if (has_parts_) {
    TRY_VOID(writer_.send("savepoint", "release savepoint part", {}, Expect::kAny));
  }
  return writer_.settle();
}

Result<void> ApplySession::rewind() {
  TRY_VOID(writer_.reset());
  TRY_VOID(connection_.exec(has_parts_ ? "rollback to savepoint part" : "rollback"));
  if (has_parts_) TRY_VOID(connection_.exec("release savepoint part"));
  // Which of its statements the server knows cannot be told after a failure.
  return connection_.exec("deallocate all");
}

Result<void> ApplySession::write(const Batch& batch, const Move* move) {
  const bool is_small = batch.changes < kSetsLeast && !has_parts_;
  const auto way = is_small ? Way::kRows : config_.way;
  auto written = try_part(batch, way, move);
  if (!written && way == Way::kSets && writer_.failed_on_rows()) {
    log_info("a batch is applied row by row", {{"migration", config_.migration},
                                               {"changes", batch.changes},
                                               {"why", written.error().message()}});
    ++row_by_row_;
    TRY_VOID(rewind());
    written = try_part(batch, Way::kRows, move);
  }
  has_parts_ = has_parts_ || written;
  return written;
}

Result<void> ApplySession::write_beside(const Batch& batch, const Beside& beside) {
  TRY_VOID(begin_part());
  TRY_VOID(fail_point("apply.beside.begun"));
  TRY_VOID(writer_.write(batch.fragments, Way::kSets, &beside));
  TRY_VOID(writer_.settle());
  has_parts_ = true;
  return {};
}

Result<void> ApplySession::advance(const Move& move) {
  TRY_VOID(send_move(move));
  return writer_.settle();
}

Result<LogPositions> ApplySession::commit() {
  TRY_VOID(fail_point("apply.before_commit"));
  TRY(const auto positions, with_context(connection_.query(fmt::format("commit; {}", kPositions)),
                                         "committing applied changes"));
  TRY_VOID(fail_point("apply.committed"));
  has_parts_ = false;
  return parse_positions(positions.text(0, 0));
}

Result<void> ApplySession::roll_back() {
  has_parts_ = false;
  return rewind();
}

Result<LogPositions> ApplySession::log_positions() {
  TRY(const auto positions, connection_.query(kPositions));
  return parse_positions(positions.text(0, 0));
}

std::optional<Misfit> ApplySession::misfit() {
  return writer_.failed_on_rows() ? writer_.misfit() : std::nullopt;
}

}  // namespace banyan::replication
