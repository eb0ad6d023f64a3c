#include "planes/replication/apply_progress.h"

#include <fmt/format.h>

namespace banyan::replication {

std::string stream_name(const std::string& migration, SideName from) {
  return fmt::format("{}:{}", migration, side_name(from));
}

Result<void> create_stream_table(pg::Connection& db) {
  return db.exec(
      "select pg_advisory_xact_lock(hashtext('banyan.schema'));"
      "create table if not exists banyan.stream(stream text primary key, slot text not null,"
      " system_id text not null, stage text not null, snapshot text not null, start pg_lsn not "
      "null);"
      "alter table banyan.stream add column if not exists timeline text not null default ''");
}

Result<std::optional<StreamRecord>> read_stream(pg::Connection& db, const std::string& stream) {
  TRY(const auto rows, db.query("select slot, system_id, stage, snapshot, start, timeline "
                                "from banyan.stream where stream = $1",
                                {stream}));
  if (rows.empty()) return std::optional<StreamRecord>();
  TRY(const auto start, pg::parse_lsn(rows.text(0, 4)));
  return StreamRecord{.stream = stream,
                      .slot = rows.str(0, 0),
                      .system_id = rows.str(0, 1),
                      .timeline = rows.str(0, 5),
                      .stage = rows.str(0, 2),
                      .snapshot = rows.str(0, 3),
                      .start = start};
}

Result<void> write_stream(pg::Connection& db, const StreamRecord& record) {
  const auto stream = pg::quote_literal(record.stream);
  const auto start = pg::quote_literal(pg::format_lsn(record.start));
  return db.exec(fmt::format(
      "delete from banyan.applied_chunks where stream = {0};"
      "delete from banyan.refetched_rows where stream = {0};"
      "insert into banyan.stream values ({0}, {1}, {2}, {3}, {4}, {5}, {6}) on conflict (stream) "
      "do update set slot = excluded.slot, system_id = excluded.system_id, stage = excluded.stage,"
      " snapshot = excluded.snapshot, start = excluded.start, timeline = excluded.timeline;"
      "insert into banyan.progress(stream, lsn, epoch) values ({0}, {5}, 0) "
      "on conflict (stream, part) do update set lsn = excluded.lsn, "
      "epoch = banyan.progress.epoch + 1, barrier_epoch = 0",
      stream, pg::quote_literal(record.slot), pg::quote_literal(record.system_id),
      pg::quote_literal(record.stage), pg::quote_literal(record.snapshot), start,
      pg::quote_literal(record.timeline)));
}

Result<void> retarget_stream(pg::Connection& db, const StreamRecord& record) {
  return db.exec(fmt::format(
      // What tables' own snapshots have seen lies before the new slot's point.
      "update banyan.applied_chunks set snapshot = '' where stream = {0};"
      "delete from banyan.refetched_rows where stream = {0};"
      "update banyan.stream set slot = {1}, system_id = {2}, stage = {3}, snapshot = {4}, "
      "start = {5}, timeline = {6} where stream = {0};"
      "update banyan.progress set lsn = {5}, epoch = epoch + 1, barrier_epoch = 0 "
      "where stream = {0}",
      pg::quote_literal(record.stream), pg::quote_literal(record.slot),
      pg::quote_literal(record.system_id), pg::quote_literal(record.stage),
      pg::quote_literal(record.snapshot), pg::quote_literal(pg::format_lsn(record.start)),
      pg::quote_literal(record.timeline)));
}

Result<void> set_stage(pg::Connection& db, const std::string& stream, const std::string& stage) {
  TRY_VOID(db.query_one("update banyan.stream set stage = $2 where stream = $1", {stream, stage}));
  return {};
}

Result<void> delete_stream(pg::Connection& db, const std::string& stream) {
  const auto name = pg::quote_literal(stream);
  return db.exec(
      fmt::format("delete from banyan.applied_chunks where stream = {0};"
                  "delete from banyan.refetched_rows where stream = {0};"
                  "delete from banyan.stream where stream = {0};"
                  "delete from banyan.progress where stream = {0}",
                  name));
}

Result<Claim> claim_progress(pg::Connection& db, const std::string& stream) {
  TRY(const auto rows,
      db.query_one("update banyan.progress set epoch = epoch + 1 where stream = $1 "
                   "and part = 0 returning lsn, epoch, barrier_epoch",
                   {stream}));
  TRY(const auto applied, pg::parse_lsn(rows.text(0, 0)));
  return Claim{
      .applied = applied, .epoch = rows.integer(0, 1), .barrier_epoch = rows.integer(0, 2)};
}

Result<void> claim_part(pg::Connection& db, const std::string& stream, int part,
                        std::int64_t epoch) {
  const auto claimed = db.query_one(
      "insert into banyan.progress(stream, part, lsn, epoch) values ($1, $2::int, '0/0', "
      "$3::bigint) "
      "on conflict (stream, part) do update set epoch = excluded.epoch "
      "where banyan.progress.epoch <= excluded.epoch",
      {stream, std::to_string(part), std::to_string(epoch)});
  if (!claimed) return std::unexpected(claimed.error());
  return {};
}

Result<void> mark_as_ours(pg::Connection& db, const std::string& stream) {
  TRY_VOID(
      db.query_one("update banyan.progress set changed_at = clock_timestamp() "
                   "where stream = $1 and part = 0",
                   {stream}));
  return {};
}

std::string mark_sql() {
  return "update banyan.progress set changed_at = clock_timestamp() "
         "where stream = $1 and part = $2::int and epoch = $3::bigint";
}

std::string advance_sql() {
  return "update banyan.progress set lsn = $4::pg_lsn, barrier_epoch = $5::bigint "
         "where stream = $1 and part = 0 and epoch = $2::bigint and lsn = $3::pg_lsn";
}

}  // namespace banyan::replication
