#include "planes/replication/fence.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "planes/replication/catalog.h"

namespace banyan::replication {
namespace {

// Every trigger of this migration, whatever its table and kind, and the functions of its slices.
constexpr std::string_view kDrops = R"sql(
with fences as (
  select g.tgname, g.tgrelid from pg_catalog.pg_trigger g
  where g.tgrelid = any ('{{{0}}}'::oid[])
    and g.tgfoid in (pg_catalog.to_regprocedure({2}),
                     pg_catalog.to_regprocedure('banyan.closed()'))
    and g.tgargs = pg_catalog.convert_to({1}, pg_catalog.getdatabaseencoding()) || '\x00'::bytea)
select pg_catalog.format('drop trigger %I on %s;', tgname, tgrelid::pg_catalog.regclass) from fences
union all
select pg_catalog.format('drop function banyan.%I(%s);', p.proname,
                         pg_catalog.pg_get_function_identity_arguments(p.oid))
from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
where n.nspname = 'banyan' and exists (
  select 1 from fences where p.proname = 'rows of ' || tgrelid || ' in ' || {1})
)sql";

// A closed table; `where`: of these rows only, empty: whole.
struct Fenced {
  FencedTable table;
  std::string where;
};

// Names of a slice's triggers and of the function that tells its rows.
struct SliceNames {
  explicit SliceNames(const std::string& migration)
      : became(pg::quote_ident("banyan_fence " + migration + " new")),
        was(pg::quote_ident("banyan_fence " + migration + " old")),
        all(pg::quote_ident("banyan_fence " + migration + " all")) {}
  std::string became;
  std::string was;
  std::string all;
};

std::string_view mode_words(FenceMode mode) {
  return mode == FenceMode::kDisarmed ? "disable trigger" : "enable always trigger";
}

bool has_fence(const Fenced& one) {
  return one.table.fence != '\0';
}

bool stands(const Fenced& one, FenceMode mode) {
  if (mode != FenceMode::kDisarmed) return one.table.fence == 'A';
  return one.table.fence == 'D' || !has_fence(one);
}

// How the fences of slices are enabled, by the table's oid.
Result<std::map<std::uint32_t, char>> fenced_slices(pg::Connection& db,
                                                    const std::string& migration) {
  TRY(const auto rows,
      db.query("select tgrelid, tgenabled from pg_catalog.pg_trigger where tgname = $1",
               {"banyan_fence " + migration + " all"}));
  std::map<std::uint32_t, char> slices;
  for (std::size_t row = 0; row < rows.size(); row++) {
    slices[static_cast<std::uint32_t>(rows.integer(row, 0))] = rows.text(row, 1).front();
  }
  return slices;
}

Result<std::vector<Fenced>> read_fenced(pg::Connection& db, const std::string& migration,
                                        const Direction& out) {
  TRY(auto tables, fenced_tables(db, out.from));
  std::vector<Fenced> fenced;
  for (auto& table : tables) {
    const auto name = parse_table_name(table.qualified);
    const auto* mapped = out.mapping.find(name.schema, name.table);
    fenced.push_back({std::move(table), mapped == nullptr ? "" : mapped->where});
  }
  if (std::ranges::all_of(fenced, &std::string::empty, &Fenced::where)) return fenced;
  TRY(auto slices, fenced_slices(db, migration));
  for (auto& one : fenced) {
    if (!one.where.empty()) one.table.fence = slices[one.table.oid];
  }
  return fenced;
}

// Whether an identifier is somewhere in the text, however it is written there.
bool names(std::string_view text, std::string_view identifier) {
  const auto is_alike = [](unsigned char one, unsigned char other) {
    return std::tolower(one) == std::tolower(other);
  };
  return !std::ranges::search(text, identifier, is_alike).empty();
}

std::vector<Column> named_columns(const std::vector<Column>& columns, const std::string& where) {
  std::vector<Column> named;
  std::ranges::copy_if(columns, std::back_inserter(named), [&](const Column& column) {
    return names(where, column.name) || names(where, pg::quote_ident(column.name));
  });
  return named;
}

std::string create_whole(const FencedTable& table, const std::string& migration, FenceMode mode) {
  return fmt::format(
      "create trigger banyan_fence before insert or update or delete or truncate on {} "
      "for each statement execute procedure {}({});",
      table.qualified, mode == FenceMode::kCopy ? "banyan.closed" : fence_of(migration),
      pg::quote_literal(migration));
}

Result<std::string> create_slice(pg::Connection& db, const Fenced& fenced,
                                 const std::string& migration) {
  const auto name = parse_table_name(fenced.table.qualified);
  TRY(const auto table, read_table(db, name.schema, name.table));
  const auto columns = named_columns(table.columns, fenced.where);
  const auto test =
      "banyan." + pg::quote_ident(fmt::format("rows of {} in {}", fenced.table.oid, migration));
  const auto test_of = [&](std::string_view row) {
    std::string values;
    for (const auto& column : columns) {
      values +=
          fmt::format("{}{}.{}", values.empty() ? "" : ", ", row, pg::quote_ident(column.name));
    }
    return fmt::format("{}({})", test, values);
  };
  const SliceNames triggers(migration);
  const auto raises =
      fmt::format("execute function {}({});", fence_of(migration), pg::quote_literal(migration));
  return row_test_sql(test, columns, fenced.where) +
         fmt::format(
             "create trigger {} after insert or update on {} for each row when ({}) {}"
             "create trigger {} after update or delete on {} for each row when ({}) {}"
             "create trigger {} before truncate on {} for each statement {}",
             triggers.became, fenced.table.qualified, test_of("new"), raises, triggers.was,
             fenced.table.qualified, test_of("old"), raises, triggers.all, fenced.table.qualified,
             raises);
}

std::string set_mode(const Fenced& fenced, const std::string& migration, FenceMode mode) {
  const auto words = mode_words(mode);
  if (fenced.where.empty()) {
    return fmt::format("alter table {} {} banyan_fence;", fenced.table.qualified, words);
  }
  const SliceNames names(migration);
  return fmt::format("alter table {0} {1} {2}, {1} {3}, {1} {4};", fenced.table.qualified, words,
                     names.became, names.was, names.all);
}

// What brings one table's fence into `mode`, creating it if it is missing.
Result<std::string> fence_sql(pg::Connection& db, const Fenced& one, const std::string& migration,
                              FenceMode mode) {
  std::string made;
  if (!has_fence(one) && one.where.empty()) made = create_whole(one.table, migration, mode);
  if (!has_fence(one) && !one.where.empty()) {
    TRY(made, create_slice(db, one, migration));
  }
  return made + set_mode(one, migration, mode);
}

// Joined by semicolons: one round trip.
Result<std::string> fences_sql(pg::Connection& db, const std::vector<Fenced>& tables,
                               const std::string& migration, FenceMode mode) {
  std::string sql;
  for (const auto& one : tables) {
    TRY(const auto own, fence_sql(db, one, migration, mode));
    sql += own;
  }
  return sql.empty() ? "select 1" : sql;
}

Result<std::vector<Fenced>> standing_otherwise(pg::Connection& db, const std::string& migration,
                                               const Direction& out, FenceMode mode) {
  TRY(auto tables, read_fenced(db, migration, out));
  std::erase_if(tables, [&](const Fenced& one) { return stands(one, mode); });
  return tables;
}

// Not worth a wait for the disk: what is lost in a crash is done again.
Result<bool> set_fence_alone(pg::Connection& db, const std::string& migration, const Fenced& one,
                             FenceMode mode, Duration lock_timeout) {
  TRY(const auto sql, fence_sql(db, one, migration, mode));
  auto done = db.exec(
      fmt::format("begin; set local synchronous_commit = off; set local lock_timeout = {}; {} "
                  "commit",
                  std::max(1L, to_ms(lock_timeout)), sql));
  if (done) return true;
  TRY_VOID(db.exec("rollback"));
  if (is_lock_trouble(done.error())) return false;
  return std::unexpected(std::move(done).error());
}

Result<TableNames> still_there(pg::Connection& db, TableNames tables) {
  TableNames left;
  for (auto& table : tables) {
    TRY(const auto rows, db.query("select pg_catalog.to_regclass($1)", {table}));
    if (!rows.is_null(0, 0)) left.push_back(std::move(table));
  }
  return left;
}

}  // namespace

// A message ends with its SQLSTATE. (The session's last_sqlstate() may be of an earlier failure.)
bool is_lock_trouble(const Error& error) {
  const auto& message = error.message();
  return message.contains("[55P03]") || message.contains("[40P01]");  // lock_timeout, deadlock
}

Result<void> pass_fence(pg::Connection& db, const std::string& migration) {
  TRY(const auto rows,
      db.query("select pg_catalog.set_config('banyan.apply', nonce, false) from banyan.secret "
               "where name = $1",
               {migration}));
  if (rows.size() == 1) return {};
  return failure(Code::kNotFound, fmt::format("no secret of migration {} here", migration));
}

// A column that the condition names is a parameter of its name.
std::string row_test_sql(const std::string& name, const std::vector<Column>& columns,
                         const std::string& where) {
  std::string parameters;
  for (const auto& column : named_columns(columns, where)) {
    parameters += fmt::format("{}{} {}", parameters.empty() ? "" : ", ",
                              pg::quote_ident(column.name), column.type);
  }
  return fmt::format(
      "create or replace function {0}({1}) returns boolean language sql immutable return ({2});"
      "grant execute on function {0}({1}) to public;",
      name, parameters, where);
}

Result<void> set_gate(pg::Connection& db, const std::string& migration, Gate gate) {
  const auto mode = gate == Gate::kOpen ? FenceMode::kDisarmed : FenceMode::kArmed;
  return db.exec(
      fmt::format("alter table {} {} banyan_gate", gate_of(migration), mode_words(mode)));
}

Result<void> arm_fences(pg::Connection& db, const std::string& migration, const Direction& out) {
  TRY(const auto tables, standing_otherwise(db, migration, out, FenceMode::kArmed));
  TRY(const auto sql, fences_sql(db, tables, migration, FenceMode::kArmed));
  return db.exec(sql);
}

Result<std::size_t> set_fences_one_by_one(pg::Connection& db, const std::string& migration,
                                          const Direction& out, FenceMode mode,
                                          const Patience& patience) {
  TRY(const auto tables, standing_otherwise(db, migration, out, mode));
  std::size_t left = tables.size();
  for (const auto& one : tables) {
    if (SystemClock().now() > patience.until) break;
    TRY(const bool stands, set_fence_alone(db, migration, one, mode, patience.lock_timeout));
    left -= stands ? 1 : 0;
  }
  return left;
}

Result<void> add_missing_fences(pg::Connection& db, const std::string& migration,
                                const Direction& out, FenceMode mode) {
  TRY(auto missing, read_fenced(db, migration, out));
  std::erase_if(missing, has_fence);
  if (missing.empty()) return {};
  // A short wait per attempt: a queued ALTER TABLE holds up every writer behind it.
  TRY(const auto sql, fences_sql(db, missing, migration, mode));
  auto done = db.exec("set lock_timeout = '2s';" + sql);
  (void)db.exec("set lock_timeout = 0");  // a dead session is reported by the next call
  return with_context(std::move(done), "creating the fence triggers");
}

Result<void> drop_fences(pg::Connection& db, const std::string& migration,
                         const TableNames& tables) {
  TRY(const auto left, still_there(db, tables));
  if (left.empty() && !tables.empty()) return {};
  TRY(const auto fenced, fenced_tables(db, left));
  TRY(const auto drops, db.query(fmt::format(kDrops, oid_list(fenced), pg::quote_literal(migration),
                                             pg::quote_literal(fence_of(migration) + "()"))));
  std::string sql;
  for (std::size_t row = 0; row < drops.size(); row++) sql += drops.str(row, 0);
  return sql.empty() ? Result<void>() : db.exec(sql);
}

}  // namespace banyan::replication
