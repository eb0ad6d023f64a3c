#include "planes/replication/repair.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/catalog.h"
#include "wire/pg/replication.h"

namespace banyan::replication {
namespace {

constexpr DifferenceLimits kLimits{.buckets = 1024, .rows = 20'000};
constexpr std::size_t kKeysAtOnce = 200;
constexpr std::size_t kWriteBytes = 256 << 10;

using Keys = std::vector<std::vector<std::string>>;

// Columns that are written; the others follow from them.
constexpr std::string_view kWritable = R"sql(
select coalesce(string_agg(pg_catalog.quote_ident(a.attname), ', ' order by a.attnum), '')
from pg_catalog.pg_attribute a where a.attrelid = {}::pg_catalog.regclass and a.attnum > 0
  and not a.attisdropped and {})sql";

class Repairer {
 public:
  Repairer(pg::Connection& active, pg::Connection& passive)
      : active_(active), passive_(passive), form_(float_form(active, passive)) {}
  Result<TableRepair> repair(const VerifiedTable& table, const TableVerdict& verdict);

 private:
  Result<void> repair_rows(const VerifiedTable& table, const Keys& keys, TableRepair& done);
  Result<void> repair_whole(const VerifiedTable& table, TableRepair& done);
  Result<std::string> writable_columns(const VerifiedTable& table);
  Result<std::int64_t> remove(const VerifiedTable& table, const std::string& where);
  Result<std::int64_t> carry(const VerifiedTable& table, const std::string& where);

  pg::Connection& active_;
  pg::Connection& passive_;
  const FloatForm form_;
};

Result<std::string> Repairer::writable_columns(const VerifiedTable& table) {
  const auto* stored = passive_.server_version() >= 120000 ? "a.attgenerated = ''" : "true";
  TRY(const auto rows,
      passive_.query(fmt::format(kWritable, pg::quote_literal(table.qualified), stored)));
  return rows.str(0, 0);
}

Result<std::int64_t> Repairer::remove(const VerifiedTable& table, const std::string& where) {
  TRY(const auto gone,
      passive_.query(fmt::format("delete from only {} where {}", table.qualified, where)));
  return gone.affected();
}

// Rows of the active side's snapshot, as text, into the passive side.
Result<std::int64_t> Repairer::carry(const VerifiedTable& table, const std::string& where) {
  TRY(const auto columns, writable_columns(table));
  TRY_VOID(active_.copy_out_begin(fmt::format("copy (select {} from only {} where {}) to stdout",
                                              columns, table.qualified, where)));
  TRY_VOID(passive_.copy_in_begin(fmt::format("copy {} {} from stdin", table.qualified,
                                              columns.empty() ? "" : "(" + columns + ")")));
  std::string waiting;
  while (true) {
    TRY(const auto row, active_.copy_out_next());
    if (row) waiting += *row;
    if (!row || waiting.size() >= kWriteBytes) {
      TRY_VOID(passive_.copy_in_write(waiting));
      waiting.clear();
    }
    if (!row) break;
  }
  TRY(const auto written, passive_.copy_in_end());
  if (written == active_.copy_rows()) return written;
  return failure(Code::kCorruption,
                 fmt::format("{} rows were read and {} written", active_.copy_rows(), written));
}

Result<void> Repairer::repair_rows(const VerifiedTable& table, const Keys& keys,
                                   TableRepair& done) {
  std::vector<std::pair<std::string, Keys>> groups;
  for (std::size_t from = 0; from < keys.size(); from += kKeysAtOnce) {
    const auto to = std::min(keys.size(), from + kKeysAtOnce);
    Keys some(keys.begin() + static_cast<long>(from), keys.begin() + static_cast<long>(to));
    auto where = key_condition(table, some);
    groups.emplace_back(std::move(where), std::move(some));
  }
  TRY_VOID(fail_point("repair.rows_known"));
  // All old versions go before any new one comes: unique values may have changed places.
  for (const auto& [where, some] : groups) {
    TRY(const auto gone, remove(table, where));
    done.removed += gone;
  }
  for (const auto& [where, some] : groups) {
    TRY(const auto come, carry(table, where));
    done.written += come;
  }
  return with_float_form({active_, passive_}, form_, [&]() -> Result<void> {
    for (const auto& [where, some] : groups) {
      TRY(const auto verdict, compare_keys(active_, passive_, table, some));
      if (!verdict.equal) return failure(Code::kCorruption, "the rows written are not those read");
    }
    return {};
  });
}

Result<void> Repairer::repair_whole(const VerifiedTable& table, TableRepair& done) {
  done.is_whole = true;
  TRY(done.removed, remove(table, "true"));
  TRY(done.written, carry(table, "true"));
  return with_float_form({active_, passive_}, form_, [&]() -> Result<void> {
    TRY(const auto verdict, compare_table(active_, passive_, table));
    if (!verdict.equal) return failure(Code::kCorruption, "the rows written are not those read");
    return {};
  });
}

Result<TableRepair> Repairer::repair(const VerifiedTable& table, const TableVerdict& verdict) {
  TableRepair done{.table = table.qualified};
  Keys keys;
  for (const auto& difference : verdict.differences) keys.push_back(difference.key_values);
  const bool by_key = !table.key.empty() && !verdict.has_more;
  auto repaired = by_key ? repair_rows(table, keys, done) : repair_whole(table, done);
  if (!repaired) {
    return std::unexpected(std::move(repaired).error().with_context(table.qualified));
  }
  log_info("table repaired", {{"table", table.qualified},
                              {"written", done.written},
                              {"removed", done.removed},
                              {"whole", done.is_whole}});
  return done;
}

// A session that may write the closed side, inside a transaction marked as ours.
Result<pg::Connection> open_writer(const RepairPlan& plan) {
  TRY(auto db, open_pinned(plan.verifier.passive_url));
  TRY_VOID(pass_fence(db, plan.migration));
  if (!db.exec("set session_replication_role = replica")) {
    return std::unexpected(
        Error(Code::kPermission, "our role may not write without firing triggers and foreign keys")
            .with_remedy("grant set on parameter session_replication_role to our role (15 and "
                         "later), or repair as a superuser."));
  }
  TRY_VOID(find_extension_operators(db));
  TRY_VOID(db.exec("set synchronous_commit = on; begin"));
  TRY_VOID(
      db.query_one("update banyan.progress set changed_at = pg_catalog.clock_timestamp() "
                   "where stream = $1 and part = 0",
                   {plan.stream}));
  return db;
}

Result<RepairReport> repair_tables(pg::Connection& active, const RepairPlan& plan,
                                   const Verdict& found) {
  TRY_VOID(find_extension_operators(active));
  TRY(auto passive, open_writer(plan));
  TRY(const auto tables,
      verified_tables(active, plan.verifier.tables, float_form(active, passive)));
  RepairReport report;
  for (const auto& verdict : found.tables) {
    if (verdict.equal) continue;
    const auto table = std::ranges::find(tables, verdict.table, &VerifiedTable::qualified);
    if (table == tables.end()) continue;
    TRY(auto done, Repairer(active, passive).repair(*table, verdict));
    report.push_back(std::move(done));
  }
  TRY_VOID(fail_point("repair.before_commit"));
  TRY_VOID(passive.exec("commit"));
  TRY_VOID(fail_point("repair.committed"));
  return report;
}

Result<void> refuse_missing_tables(const Verdict& found) {
  for (const auto& table : found.tables) {
    const bool misses_table = !table.equal && table.differences.size() == 1 &&
                              table.differences[0].key.empty() &&
                              table.differences[0].source == kMissingTable;
    if (!misses_table) continue;
    return std::unexpected(
        Error(Code::kConflict,
              "the passive side has no table " + table.table + " with these columns")
            .with_remedy("Create the table there as it is on the active side; then repair again."));
  }
  return {};
}

// Only the tables that are to be repaired.
Verdict narrowed_to(Verdict found, const std::string& only) {
  std::erase_if(found.tables, [&](const TableVerdict& table) {
    return table.equal || (!only.empty() && table.table != only);
  });
  found.equal = found.tables.empty();
  return found;
}

}  // namespace

Result<Verdict> find_differences(const RepairPlan& plan) {
  auto options = plan.verifier;
  options.limits = kLimits;
  TRY(auto found, verify(options));
  TRY_VOID(refuse_missing_tables(found));
  return narrowed_to(std::move(found), plan.only);
}

Result<RepairReport> repair_live(const RepairPlan& plan, const Verdict& found) {
  TRY(auto slot_session,
      pg::ReplicationConnection::open(plan.verifier.active_url, "banyan_repair"));
  static std::atomic<int> serial = 0;
  const auto slot_name = fmt::format("banyan_repair_{}_{}", getpid(), serial++);
  pg::CreatedSlot slot;
  const auto create_slot = [&]() -> Result<pg::Lsn> {
    TRY(slot, slot_session.create_slot(slot_name, pg::Snapshot::kExport, pg::SlotLife::kTemporary));
    return slot.consistent_point;
  };
  RepairReport report;
  TRY_VOID(plan.verifier.at_point(create_slot, [&]() -> Result<void> {
    TRY(auto active, open_at(plan.verifier.active_url, slot.snapshot));
    TRY(report, repair_tables(active, plan, found));
    return {};
  }));
  return report;
}

Result<RepairReport> repair_standing(const RepairPlan& plan, const std::string& snapshot) {
  auto options = plan.verifier;
  options.limits = kLimits;
  std::vector<SessionPair> pairs;
  for (int job = 0; job < std::max(1, options.jobs); job++) {
    TRY(auto active, open_at(options.active_url, snapshot));
    TRY(auto passive, open_pinned(options.passive_url));
    pairs.push_back({std::move(active), std::move(passive)});
  }
  TRY(auto found, compare_all(pairs, options));
  TRY_VOID(refuse_missing_tables(found));
  return repair_tables(pairs.front().active, plan, narrowed_to(std::move(found), ""));
}

}  // namespace banyan::replication
