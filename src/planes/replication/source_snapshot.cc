#include "planes/replication/source_snapshot.h"

#include <fmt/format.h>

#include <thread>

#include "base/clock.h"

namespace banyan::replication {
namespace {

constexpr int kTries = 600;
constexpr auto kBetweenTries = 100ms;

constexpr std::string_view kBegin = "begin isolation level repeatable read read only; ";

// What an asynchronous commit made visible may still vanish in a crash of the source.
Result<void> wait_until_durable(pg::Connection& source, const std::string& position) {
  for (int attempt = 0; attempt < kTries; ++attempt) {
    TRY(const auto rows,
        source.query("select pg_catalog.pg_current_wal_flush_lsn() >= $1::pg_lsn", {position}));
    if (rows.boolean(0, 0)) return {};
    std::this_thread::sleep_for(10ms);
  }
  return failure(Code::kTimeout, "the source does not write its log to disk", Retry::kSafe);
}

}  // namespace

Result<std::string> begin_fresh_snapshot(pg::Connection& source, const SnapshotFilter& slot,
                                         const Table* table) {
  const auto* function =
      source.server_version() >= 130000 ? "pg_current_snapshot" : "txid_current_snapshot";
  for (int attempt = 0; attempt < kTries; ++attempt) {
    // A transaction's snapshot is taken by its first query; LOCK TABLE is none.
    TRY_VOID(source.exec(std::string(kBegin)));
    if (table != nullptr) {
      TRY_VOID(source.exec(fmt::format("lock table {} in access share mode", table->exactly())));
    }
    TRY(const auto rows, source.query(fmt::format("select pg_catalog.{}()::text, "
                                                  "pg_catalog.pg_current_wal_insert_lsn()::text",
                                                  function)));
    TRY(const auto mine, SnapshotFilter::parse(rows.text(0, 0)));
    if (mine.includes(slot)) {
      TRY_VOID(wait_until_durable(source, rows.str(0, 1)));
      return rows.str(0, 0);
    }
    TRY_VOID(source.exec("commit"));
    std::this_thread::sleep_for(kBetweenTries);
  }
  return failure(Code::kTimeout, "a transaction older than the slot does not end", Retry::kSafe);
}

Result<void> begin_under(pg::Connection& db, const std::string& exported) {
  auto begun =
      db.exec(fmt::format("{}set transaction snapshot {}", kBegin, pg::quote_literal(exported)));
  if (begun || !begun.error().message().contains(kSnapshotGone)) return begun;
  return failure(Code::kUnavailable, "the snapshot went with the session that exported it",
                 Retry::kSafe);
}

Result<bool> is_rewritten(pg::Connection& source, const Table& table) {
  const auto* parts = table.is_partitioned
                          ? "oid in (select relid from pg_catalog.pg_partition_tree($1::oid) "
                            "where isleaf)"
                          : "oid = $1::oid";
  // The catalog is read under the snapshot, the function looks at what is there now.
  TRY(const auto rows,
      source.query(
          fmt::format("select coalesce(bool_or(relfilenode is distinct from "
                      "pg_catalog.pg_relation_filenode(oid)), {}) from pg_catalog.pg_class "
                      "where {}",
                      table.is_partitioned ? "false" : "true", parts),
          {std::to_string(table.oid)}));
  return rows.boolean(0, 0);
}

Result<std::shared_ptr<SourceSnapshot>> SourceSnapshot::import(const std::string& url,
                                                               const std::string& exported) {
  TRY(auto session, pg::Connection::open(url, {.application_name = "banyan_snapshot"}));
  TRY_VOID(begin_under(session, exported));
  return std::make_shared<SourceSnapshot>(Held{std::move(session), {exported, ""}});
}

Result<SourceSnapshot::Held> SourceSnapshot::make() const {
  TRY(auto session, pg::Connection::open(url_, {.application_name = "banyan_snapshot"}));
  TRY(auto text, begin_fresh_snapshot(session, *slot_, nullptr));
  TRY(const auto exported, session.query("select pg_catalog.pg_export_snapshot()"));
  SnapshotName name{exported.str(0, 0), std::move(text)};
  return Held{std::move(session), std::move(name)};
}

Result<SnapshotName> SourceSnapshot::name() {
  return held_.with([&](std::optional<Held>& held) -> Result<SnapshotName> {
    if (!held) {
      TRY(held, make());
    }
    return held->name;
  });
}

}  // namespace banyan::replication
