#include "planes/replication/repair.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <set>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/apply_progress.h"
#include "planes/replication/catalog.h"
#include "planes/replication/fence.h"
#include "wire/pg/replication.h"

namespace banyan::replication {
namespace {

constexpr DifferenceLimits kLimits{.buckets = 1024, .rows = 20'000};
constexpr std::size_t kKeysAtOnce = 200;
constexpr std::size_t kWriteBytes = 256 << 10;

// Columns that are written; the others follow from them.
constexpr std::string_view kWritable = R"sql(
select a.attname from pg_catalog.pg_attribute a
where a.attrelid = {}::pg_catalog.regclass and a.attnum > 0 and not a.attisdropped and {})sql";

class Repairer {
 public:
  Repairer(pg::Connection& active, pg::Connection& passive)
      : active_(active), passive_(passive), form_(float_form(active, passive)) {}
  Result<TableRepair> repair(const ComparedTable& table, const TableVerdict& verdict);

 private:
  Result<void> repair_rows(const ComparedTable& table, const RowKeys& keys, TableRepair& done);
  Result<void> repair_whole(const ComparedTable& table, TableRepair& done);
  // Quoted lists, in the same order: what is read, and what is written.
  struct Columns {
    std::string read;
    std::string written;
  };
  Result<Columns> writable_columns(const ComparedTable& table);
  Result<std::int64_t> remove(const ComparedTable& table, const std::string& where);
  Result<std::int64_t> carry(const ComparedTable& table, const std::string& where);

  pg::Connection& active_;
  pg::Connection& passive_;
  const FloatForm form_;
};

Result<Repairer::Columns> Repairer::writable_columns(const ComparedTable& table) {
  const auto* stored = passive_.server_version() >= 120000 ? "a.attgenerated = ''" : "true";
  TRY(const auto rows,
      passive_.query(fmt::format(kWritable, pg::quote_literal(table.passive->qualified), stored)));
  std::set<std::string> writable;
  for (std::size_t row = 0; row < rows.size(); row++) writable.insert(rows.str(row, 0));
  Columns columns;
  for (std::size_t at = 0; at < table.active.columns.size(); at++) {
    const auto& there = table.passive->columns[at].name;
    if (!writable.contains(there)) continue;
    const auto* comma = columns.read.empty() ? "" : ", ";
    columns.read += comma + pg::quote_ident(table.active.columns[at].name);
    columns.written += comma + pg::quote_ident(there);
  }
  return columns;
}

Result<std::int64_t> Repairer::remove(const ComparedTable& table, const std::string& where) {
  TRY(const auto gone,
      passive_.query(fmt::format("delete from {} and ({})", table.passive->rows(), where)));
  return gone.affected();
}

// Rows of the active side's snapshot, as text, into the passive side.
Result<std::int64_t> Repairer::carry(const ComparedTable& table, const std::string& where) {
  TRY(const auto columns, writable_columns(table));
  TRY_VOID(active_.copy_out_begin(fmt::format("copy (select {} from {} and ({})) to stdout",
                                              columns.read, table.active.rows(), where)));
  TRY_VOID(passive_.copy_in_begin(
      fmt::format("copy {} {} from stdin", table.passive->qualified,
                  columns.written.empty() ? "" : "(" + columns.written + ")")));
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

Result<void> Repairer::repair_rows(const ComparedTable& table, const RowKeys& keys,
                                   TableRepair& done) {
  struct Group {
    std::string read;  // the rows to read, and to remove
    std::string removed;
    RowKeys keys;
  };
  std::vector<Group> groups;
  for (std::size_t from = 0; from < keys.size(); from += kKeysAtOnce) {
    const auto to = std::min(keys.size(), from + kKeysAtOnce);
    RowKeys some(keys.begin() + static_cast<long>(from), keys.begin() + static_cast<long>(to));
    groups.push_back({key_condition(table.active, some), key_condition(*table.passive, some), {}});
    groups.back().keys = std::move(some);
  }
  TRY_VOID(fail_point("repair.rows_known"));
  // All old versions go before any new one comes: unique values may have changed places.
  for (const auto& group : groups) {
    TRY(const auto gone, remove(table, group.removed));
    done.removed += gone;
  }
  for (const auto& group : groups) {
    TRY(const auto come, carry(table, group.read));
    done.written += come;
  }
  return with_float_form({active_, passive_}, form_, [&]() -> Result<void> {
    for (const auto& group : groups) {
      TRY(const auto verdict, compare_keys({active_, passive_}, table, group.keys));
      if (!verdict.equal) return failure(Code::kCorruption, "the rows written are not those read");
    }
    return {};
  });
}

Result<void> Repairer::repair_whole(const ComparedTable& table, TableRepair& done) {
  done.is_whole = true;
  TRY(done.removed, remove(table, "true"));
  TRY(done.written, carry(table, "true"));
  return with_float_form({active_, passive_}, form_, [&]() -> Result<void> {
    TRY(const auto verdict, compare_table({active_, passive_}, table));
    if (!verdict.equal) return failure(Code::kCorruption, "the rows written are not those read");
    return {};
  });
}

Result<TableRepair> Repairer::repair(const ComparedTable& table, const TableVerdict& verdict) {
  const auto& name = table.active.qualified;
  TableRepair done{.table = name, .table_there = table.passive->qualified};
  RowKeys keys;
  for (const auto& difference : verdict.differences) keys.push_back(difference.key_values);
  const bool by_key = !table.active.key().empty() && !verdict.has_more;
  auto repaired = by_key ? repair_rows(table, keys, done) : repair_whole(table, done);
  if (!repaired) {
    return std::unexpected(std::move(repaired).error().with_context(name));
  }
  log_info("table repaired", {{"table", name},
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
  TRY_VOID(mark_as_ours(db, plan.stream));
  return db;
}

Result<RepairReport> repair_tables(pg::Connection& active, const RepairPlan& plan,
                                   const Verdict& found) {
  TRY_VOID(find_extension_operators(active));
  TRY(auto passive, open_writer(plan));
  TRY(const auto tables, compared_tables({active, passive}, plan.verifier.direction));
  RepairReport report;
  for (const auto& verdict : found.tables) {
    if (verdict.equal) continue;
    const auto table = std::ranges::find(
        tables, verdict.table, [](const ComparedTable& one) { return one.active.qualified; });
    if (table == tables.end() || !table->passive) continue;
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
