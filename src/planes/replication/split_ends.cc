#include "planes/replication/split_ends.h"

#include <fmt/format.h>

namespace banyan::replication {
namespace {

// Schemas and sequences are found when the script runs: they are the new database's.
constexpr std::string_view kRole = R"sql(do $$ begin
  if not exists (select 1 from pg_roles where rolname = {3}) then create role {0} login; end if;
end $$;
grant select, insert, update, delete on {1} to {0};
{4}do $$ declare found text; begin
  for found in select distinct 'schema ' || quote_ident(n.nspname) from pg_class c
      join pg_namespace n on n.oid = c.relnamespace where c.oid = any (array[{5}]::regclass[])
    union select 'sequence ' || d.objid::regclass from pg_depend d where d.deptype in ('a', 'i')
      and d.classid = 'pg_class'::regclass and d.refobjid = any (array[{2}]::regclass[])
      and (select relkind from pg_class where oid = d.objid) = 'S' loop
    execute 'grant usage on ' || found || ' to ' || quote_ident({3});
  end loop;
end $$;
)sql";

constexpr std::string_view kCrossingKeys = R"sql(
select 'alter table ' || k.conrelid::pg_catalog.regclass || ' drop constraint ' ||
  quote_ident(k.conname) from pg_catalog.pg_constraint k
where k.contype = 'f' and k.conparentid = 0
  and (k.conrelid = any ('{{{0}}}'::oid[])) <> (k.confrelid = any ('{{{0}}}'::oid[])) order by 1
)sql";

struct NameList {
  std::string names;
  std::string texts;
  void add(const std::vector<FencedTable>& tables) {
    for (const auto& table : tables) {
      names += (names.empty() ? "" : ", ") + table.qualified;
      texts += (texts.empty() ? "" : ", ") + pg::quote_literal(table.qualified);
    }
  }
};

Result<void> drop_crossing_keys(pg::Connection& db, const std::vector<FencedTable>& moved) {
  TRY(const auto keys, db.query(fmt::format(kCrossingKeys, oid_list(moved))));
  for (std::size_t row = 0; row < keys.size(); row++) TRY_VOID(db.exec(keys.str(row, 0)));
  return {};
}

Result<void> revoke_all(pg::Connection& db, const FencedTable& table) {
  TRY(const auto holders,
      db.query("select distinct case when a.grantee = 0 then 'public' else "
               "pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end from "
               "pg_catalog.pg_class c cross join lateral pg_catalog.aclexplode(coalesce(c.relacl, "
               "pg_catalog.acldefault('r', c.relowner))) a where c.oid = $1::oid",
               {std::to_string(table.oid)}));
  std::string list;
  for (std::size_t row = 0; row < holders.size(); row++) {
    list += (row > 0 ? ", " : "") + holders.str(row, 0);
  }
  if (list.empty()) return {};
  return db.exec(fmt::format("revoke all on table {} from {} cascade", table.qualified, list));
}

Result<void> give_password(pg::Connection& target, const ServiceRole& role) {
  if (role.password.empty()) return {};
  TRY(const auto verifier, target.password_verifier(role.name, role.password));
  return target.exec(fmt::format("alter role {} password {}", pg::quote_ident(role.name),
                                 pg::quote_literal(verifier)));
}

}  // namespace

std::string service_role_sql(const std::vector<FencedTable>& tables,
                             const std::vector<FencedTable>& copies, const std::string& role) {
  NameList moved;
  moved.add(tables);
  NameList all = moved;
  all.add(copies);
  NameList read;
  read.add(copies);
  const auto quoted = pg::quote_ident(role);
  const auto reading =
      copies.empty() ? "" : fmt::format("grant select on {} to {};\n", read.names, quoted);
  return fmt::format(kRole, quoted, moved.names, moved.texts, pg::quote_literal(role), reading,
                     all.texts);
}

Result<void> make_service_role(pg::Connection& target, const TableNames& tables,
                               const TableNames& copies, const ServiceRole& role) {
  TRY(const auto moved, fenced_tables(target, tables));
  std::vector<FencedTable> read;
  if (!copies.empty()) {
    TRY(read, fenced_tables(target, copies));
  }
  const auto sql = service_role_sql(moved, read, role.name);
  auto made = target.exec("begin;" + sql);
  if (made) made = give_password(target, role);
  auto ended = target.exec(made ? "commit" : "rollback");
  if (made) return with_context(std::move(ended), "making the service's role " + role.name);
  if (!made.error().message().contains("[42501]"))
    return with_context(std::move(made), "making the service's role " + role.name);
  return std::unexpected(
      Error(Code::kPermission, fmt::format("our role may not create the role {}", role.name))
          .with_remedy("1. As an administrator of the new database:\n" + sql +
                       "   then start the migration again.\n2. Take `service_role` out of the "
                       "migration, and make it yourself."));
}

Result<void> close_moved(pg::Connection& db, const TableNames& tables) {
  TRY(const auto moved, fenced_tables(db, tables));
  TRY_VOID(db.exec("begin; set local lock_timeout = '10s'"));
  auto closed = drop_crossing_keys(db, moved);
  for (const auto& table : moved) {
    if (closed) closed = with_context(revoke_all(db, table), "closing " + table.qualified);
  }
  auto ended = db.exec(closed ? "commit" : "rollback");
  return closed ? std::move(ended) : std::move(closed);
}

}  // namespace banyan::replication
