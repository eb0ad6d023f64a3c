#include "planes/replication/row_refetch.h"

#include <fmt/format.h>

#include <thread>

#include "base/clock.h"
#include "planes/replication/catalog.h"
#include "planes/replication/source_snapshot.h"

namespace banyan::replication {
namespace {

constexpr int kTries = 3000;
constexpr auto kBetweenTries = 10ms;

struct RowQuery {
  std::string sql;
  std::vector<pg::Param> params;
};

RowQuery query_of(const Change& moved, const std::string& exactly) {
  const auto& relation = *moved.relation;
  RowQuery query;
  std::string columns;
  std::string where;
  for (std::size_t i = 0; i < relation.columns.size(); i++) {
    const auto name = pg::quote_ident(relation.columns[i].name);
    columns += (columns.empty() ? "" : ", ") + name;
    if (!relation.columns[i].is_key) continue;
    query.params.emplace_back(std::string(moved.row[i].bytes));
    where += fmt::format("{}{} = ${}", where.empty() ? "" : " and ", name, query.params.size());
  }
  query.sql = fmt::format("select {} from {} where {}", columns, exactly, where);
  return query;
}

void take_row(const pg::Rows& rows, RefetchedRow& out) {
  if (rows.empty()) return;
  pg::Tuple row;
  for (std::size_t column = 0; column < rows.columns(); column++) {
    if (rows.is_null(0, column)) {
      row.push_back({pg::CellKind::kNull, ""});
    } else {
      row.push_back({pg::CellKind::kText, out.bytes.emplace_back(rows.text(0, column))});
    }
  }
  out.row = std::move(row);
}

// A decoded commit is not at once a visible one.
Result<std::string> snapshot_after(pg::Connection& source, std::uint32_t xid,
                                   const SnapshotFilter& piece) {
  for (int attempt = 0; attempt < kTries; attempt++) {
    TRY(auto text, begin_fresh_snapshot(source, piece, nullptr));
    TRY(const auto mine, SnapshotFilter::parse(text));
    if (mine.has_seen(xid)) return text;
    TRY_VOID(source.exec("commit"));
    std::this_thread::sleep_for(kBetweenTries);
  }
  return failure(Code::kTimeout, "a transaction that was streamed does not become visible",
                 Retry::kSafe);
}

}  // namespace

Result<RefetchedRow> refetch_row(pg::Connection& source, const Change& moved, std::uint32_t xid,
                                 const std::optional<SnapshotFilter>& piece) {
  TRY(const auto nothing_seen, SnapshotFilter::parse("3:3:"));
  RefetchedRow out;
  TRY(out.snapshot, snapshot_after(source, xid, piece.value_or(nothing_seen)));
  TRY(const auto table, read_table(source, moved.relation->schema, moved.relation->name));
  const auto query = query_of(moved, table.exactly());
  TRY(const auto rows, source.query(query.sql, query.params));
  take_row(rows, out);
  TRY_VOID(source.exec("commit"));
  return out;
}

std::string keep_refetched_sql() {
  return "insert into banyan.refetched_rows(stream, table_name, key, snapshot) "
         "values ($1, $2, $3, $4) on conflict (stream, table_name, key) "
         "do update set snapshot = excluded.snapshot";
}

Result<void> load_refetched(pg::Connection& target, const std::string& stream,
                            std::map<std::string, ChunkFilter>& filters) {
  TRY(const auto rows,
      target.query("select table_name, key, snapshot from banyan.refetched_rows where stream = $1",
                   {stream}));
  for (std::size_t row = 0; row < rows.size(); row++) {
    const auto filter = filters.find(rows.str(row, 0));
    if (filter == filters.end()) continue;
    TRY(auto snapshot, SnapshotFilter::parse(rows.text(row, 2)));
    filter->second.set_row(rows.str(row, 1), std::move(snapshot));
  }
  return {};
}

}  // namespace banyan::replication
