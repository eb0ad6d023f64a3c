#include "planes/replication/outside_log.h"

#include <fmt/format.h>

#include <map>
#include <string>
#include <vector>

#include "base/log.h"
#include "planes/replication/catalog.h"

namespace banyan::replication {
namespace {

constexpr std::int64_t kPieceBytes = 4 << 20;

struct LargeObject {
  std::string md5;
  std::int64_t bytes = 0;
};
using LargeObjects = std::map<std::int64_t, LargeObject>;

Result<LargeObjects> read_large_objects(pg::Connection& db) {
  TRY(const auto rows,
      db.query(
          "select oid, pg_catalog.md5(data), pg_catalog.length(data) from (select oid, "
          "pg_catalog.lo_get(oid) as data from pg_catalog.pg_largeobject_metadata offset 0) l"));
  LargeObjects objects;
  for (std::size_t row = 0; row < rows.size(); row++) {
    objects[rows.integer(row, 0)] = {rows.str(row, 1), rows.integer(row, 2)};
  }
  return objects;
}

Result<void> write_large_object(pg::Connection& active, pg::Connection& passive, std::int64_t oid,
                                std::int64_t bytes) {
  const auto id = std::to_string(oid);
  TRY_VOID(passive.query("select pg_catalog.lo_create($1::oid)", {id}));
  for (std::int64_t at = 0; at < bytes; at += kPieceBytes) {
    const auto offset = std::to_string(at);
    TRY(const auto piece, active.query("select pg_catalog.lo_get($1::oid, $2::int8, $3::int4)",
                                       {id, offset, std::to_string(kPieceBytes)}));
    TRY_VOID(passive.query("select pg_catalog.lo_put($1::oid, $2::int8, $3::bytea)",
                           {id, offset, piece.param(0, 0)}));
  }
  return {};
}

// Owner, grants and comment. What the target refuses (a role that is not there) is said, not fatal:
// the bytes are what must not differ.
Result<void> dress_large_object(pg::Connection& active, pg::Connection& passive, std::int64_t oid) {
  TRY(const auto rows,
      active.query("select pg_catalog.quote_ident(o.rolname), pg_catalog.obj_description(m.oid, "
                   "'pg_largeobject'), a.privilege_type, case when a.grantee = 0 then 'public' "
                   "else pg_catalog.quote_ident(g.rolname) end "
                   "from pg_catalog.pg_largeobject_metadata m "
                   "join pg_catalog.pg_roles o on o.oid = m.lomowner "
                   "left join lateral pg_catalog.aclexplode(m.lomacl) a on a.grantee <> m.lomowner "
                   "left join pg_catalog.pg_roles g on g.oid = a.grantee where m.oid = $1::oid",
                   {std::to_string(oid)}));
  std::string sql;
  for (std::size_t row = 0; row < rows.size(); row++) {
    if (row == 0 && !rows.is_null(row, 1)) {
      sql += fmt::format("comment on large object {} is {};", oid,
                         pg::quote_literal(rows.text(row, 1)));
    }
    if (!rows.is_null(row, 2)) {
      sql += fmt::format("grant {} on large object {} to {};", rows.text(row, 2), oid,
                         rows.text(row, 3));
    }
  }
  if (!rows.empty()) sql += fmt::format("alter large object {} owner to {}", oid, rows.text(0, 0));
  TRY_VOID(passive.exec("savepoint dress"));
  if (auto done = passive.exec(sql); !done) {
    log_warn("owner or grants of a large object are not carried",
             {{"large_object", oid}, {"error", done.error().message()}});
    TRY_VOID(passive.exec("rollback to savepoint dress"));
  }
  return passive.exec("release savepoint dress");
}

Result<std::size_t> write_changed(pg::Connection& active, pg::Connection& passive,
                                  const LargeObjects& here, const LargeObjects& there) {
  std::size_t changed = 0;
  for (const auto& [oid, object] : here) {
    const auto found = there.find(oid);
    if (found != there.end() && found->second.md5 == object.md5) continue;
    if (found != there.end()) {
      TRY_VOID(passive.query("select pg_catalog.lo_unlink($1::oid)", {std::to_string(oid)}));
    }
    TRY_VOID(write_large_object(active, passive, oid, object.bytes));
    TRY_VOID(dress_large_object(active, passive, oid));
    changed++;
  }
  return changed;
}

Result<std::size_t> remove_gone(pg::Connection& passive, const LargeObjects& here,
                                const LargeObjects& there) {
  std::size_t removed = 0;
  for (const auto& [oid, object] : there) {
    if (here.contains(oid)) continue;
    TRY_VOID(passive.query("select pg_catalog.lo_unlink($1::oid)", {std::to_string(oid)}));
    removed++;
  }
  return removed;
}

std::string column_list(const Table& table) {
  std::string list;
  for (const auto& column : table.columns) {
    if (column.is_generated) continue;
    list += (list.empty() ? "" : ", ") + pg::quote_ident(column.name);
  }
  return list.empty() ? list : " (" + list + ")";
}

Result<void> copy_rows(pg::Connection& active, pg::Connection& passive, const Table& table) {
  const auto what = table.qualified() + column_list(table);
  return copy_through(active, passive, fmt::format("copy {} to stdout", what),
                      fmt::format("copy {} from stdin", what));
}

}  // namespace

Result<void> copy_through(pg::Connection& from, pg::Connection& to, const std::string& out_sql,
                          const std::string& in_sql) {
  TRY_VOID(from.copy_out_begin(out_sql));
  TRY_VOID(to.copy_in_begin(in_sql));
  while (true) {
    TRY(const auto piece, from.copy_out_next());
    if (!piece) break;
    TRY_VOID(to.copy_in_write(*piece));
  }
  TRY(const auto written, to.copy_in_end());
  if (written == from.copy_rows()) return {};
  return failure(Code::kCorruption,
                 fmt::format("{} rows were read but {} written", from.copy_rows(), written));
}

Result<CarriedObjects> carry_large_objects(pg::Connection& active, pg::Connection& passive) {
  TRY(const auto here, with_context(read_large_objects(active), "reading large objects"));
  TRY(const auto there, with_context(read_large_objects(passive), "reading large objects"));
  TRY(const auto changed,
      with_context(write_changed(active, passive, here, there), "carrying large objects"));
  TRY(const auto removed,
      with_context(remove_gone(passive, here, there), "removing large objects"));
  return CarriedObjects{here.size(), changed + removed};
}

Result<CarriedObjects> carry_unlogged(pg::Connection& active, pg::Connection& passive,
                                      const TableNames& tables) {
  TRY(const auto unlogged, read_unlogged(active, tables));
  if (unlogged.empty()) return CarriedObjects{};
  std::string list;
  std::int64_t bytes = 0;
  for (const auto& table : unlogged) {
    list += (list.empty() ? "only " : ", only ") + table.qualified();
    bytes += table.bytes;
  }
  if (bytes > kUnloggedBytesMax) {
    return std::unexpected(
        Error(Code::kConflict,
              fmt::format("the unlogged tables hold {} MB, which would stretch the "
                          "pause; at most {} MB are carried",
                          bytes >> 20, kUnloggedBytesMax >> 20))
            .with_remedy(
                "Empty them (truncate), or make them logged: alter table ... set logged."));
  }
  TRY_VOID(passive.exec("truncate " + list));
  for (const auto& table : unlogged) {
    TRY_VOID(with_context(copy_rows(active, passive, table), "carrying " + table.display()));
  }
  return CarriedObjects{unlogged.size(), unlogged.size()};
}

}  // namespace banyan::replication
