#include "planes/replication/roles.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/log.h"

namespace banyan::replication {
namespace {

// Owners are asked for by themselves: the dependency list leaves out the bootstrap superuser.
constexpr std::string_view kUsedRoles = R"sql(
with recursive owned(owner) as (
    select nspowner from pg_catalog.pg_namespace
    where nspname !~ '^pg_' and nspname not in ('information_schema', 'banyan')
  union select c.relowner from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'banyan')),
used(oid) as (
  (select refobjid from pg_catalog.pg_shdepend
    where refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
    and (dbid = (select oid from pg_catalog.pg_database where datname = current_database())
      or (classid = 'pg_catalog.pg_database'::pg_catalog.regclass and objid =
        (select oid from pg_catalog.pg_database where datname = current_database())))
    and not exists (select 1 from pg_catalog.pg_namespace n where n.nspname = 'banyan'
      and classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and objid = n.oid)
   union select owner from owned)
  union select m.roleid from used u join pg_catalog.pg_auth_members m on m.member = u.oid)
)sql";

constexpr std::string_view kRoleColumns = R"sql(
select r.rolname, 'create role ' || quote_ident(r.rolname) || ' with'
  || case when r.rolsuper then ' superuser' else '' end
  || case when r.rolinherit then ' inherit' else ' noinherit' end
  || case when r.rolcanlogin then ' login' else ' nologin' end
  || case when r.rolcreaterole then ' createrole' else '' end
  || case when r.rolcreatedb then ' createdb' else '' end
  || case when r.rolreplication then ' replication' else '' end
  || case when r.rolbypassrls then ' bypassrls' else '' end
  || ' connection limit ' || r.rolconnlimit
  || coalesce(' valid until ' || quote_literal(r.rolvaliduntil), '') || ';',
  coalesce((select string_agg('grant ' || quote_ident(g.rolname) || ' to ' ||
    quote_ident(r.rolname) || case when m.admin_option then ' with admin option' else '' end
    || ';', ' ') from pg_catalog.pg_auth_members m join pg_catalog.pg_roles g on g.oid = m.roleid
    where m.member = r.oid), '')
from pg_catalog.pg_roles r where r.oid in (select oid from used) and r.rolname !~ '^pg_'
order by 1)sql";

// Lists whose stored text is quoted already.
bool is_quoted_list(std::string_view setting) {
  static constexpr std::array<std::string_view, 6> kLists = {
      "search_path",      "local_preload_libraries",  "session_preload_libraries",
      "temp_tablespaces", "shared_preload_libraries", "unix_socket_directories"};
  return std::ranges::find(kLists, setting) != kLists.end();
}

bool stops_ourselves(std::string_view setting) {
  return setting == "default_transaction_read_only" || setting == "transaction_read_only";
}

// "alter ... set x = y" for one stored "x=y"; empty when it is left out.
std::string setting_sql(const std::string& whom, std::string_view stored) {
  const auto equals = stored.find('=');
  const auto name = stored.substr(0, equals);
  if (equals == std::string_view::npos || stops_ourselves(name)) return "";
  const auto value = stored.substr(equals + 1);
  return fmt::format("alter {} set {} = {};", whom, name,
                     is_quoted_list(name) ? std::string(value) : pg::quote_literal(value));
}

Result<std::string> database_name(pg::Connection& db) {
  TRY(const auto rows, db.query("select current_database()"));
  return pg::quote_ident(rows.text(0, 0));
}

Result<void> add_settings(pg::Connection& source, const std::string& database,
                          std::vector<std::string>& statements) {
  TRY(const auto rows,
      source.query("select r.rolname, unnest(s.setconfig) from pg_catalog.pg_db_role_setting s "
                   "left join pg_catalog.pg_roles r on r.oid = s.setrole where s.setdatabase = "
                   "(select oid from pg_catalog.pg_database where datname = current_database())"));
  for (std::size_t row = 0; row < rows.size(); row++) {
    const auto whom =
        rows.is_null(row, 0)
            ? "database " + database
            : fmt::format("role {} in database {}", pg::quote_ident(rows.text(row, 0)), database);
    auto sql = setting_sql(whom, rows.text(row, 1));
    if (!sql.empty()) statements.push_back(std::move(sql));
  }
  return {};
}

Result<void> add_grants(pg::Connection& source, const std::string& database,
                        std::vector<std::string>& statements) {
  TRY(const auto rows,
      source.query("select a.privilege_type, r.rolname, a.is_grantable from pg_catalog.pg_database "
                   "d cross join lateral aclexplode(d.datacl) a "
                   "left join pg_catalog.pg_roles r on r.oid = a.grantee "
                   "where d.datname = current_database() and a.grantee <> d.datdba"));
  TRY(const auto changed, source.query("select 1 from pg_catalog.pg_database where datname = "
                                       "current_database() and datacl is not null"));
  if (changed.empty()) return {};
  statements.push_back(fmt::format("revoke all on database {} from public;", database));
  for (std::size_t row = 0; row < rows.size(); row++) {
    const auto whom = rows.is_null(row, 1) ? "public" : pg::quote_ident(rows.text(row, 1));
    statements.push_back(fmt::format("grant {} on database {} to {}{};", rows.text(row, 0),
                                     database, whom,
                                     rows.boolean(row, 2) ? " with grant option" : ""));
  }
  return {};
}

Result<std::vector<std::string>> role_settings(pg::Connection& source, const std::string& role) {
  std::vector<std::string> statements;
  TRY(const auto rows,
      source.query("select unnest(s.setconfig) from pg_catalog.pg_db_role_setting s "
                   "join pg_catalog.pg_roles r on r.oid = s.setrole "
                   "where s.setdatabase = 0 and r.rolname = $1",
                   {role}));
  for (std::size_t row = 0; row < rows.size(); row++) {
    auto sql = setting_sql("role " + pg::quote_ident(role), rows.text(row, 0));
    if (!sql.empty()) statements.push_back(std::move(sql));
  }
  return statements;
}

}  // namespace

Result<std::vector<RoleScript>> missing_roles(pg::Connection& source, pg::Connection& target) {
  TRY(const auto rows, source.query(std::string(kUsedRoles) + std::string(kRoleColumns)));
  std::vector<RoleScript> missing;
  for (std::size_t row = 0; row < rows.size(); row++) {
    TRY(const auto there,
        target.query("select 1 from pg_catalog.pg_roles where rolname = $1", {rows.param(row, 0)}));
    if (!there.empty()) continue;
    RoleScript script{rows.str(row, 0), rows.str(row, 1), rows.str(row, 2)};
    TRY(const auto settings, role_settings(source, script.name));
    for (const auto& setting : settings)
      script.grants += (script.grants.empty() ? "" : " ") + setting;
    missing.push_back(std::move(script));
  }
  return missing;
}

Result<void> carry_roles(pg::Connection& source, pg::Connection& target) {
  TRY(const auto missing, missing_roles(source, target));
  std::vector<const RoleScript*> created;
  for (const auto& role : missing) {
    auto made = target.exec(role.create);
    if (made) created.push_back(&role);
    if (made) log_info("role created without a password", {{"role", role.name}});
    if (!made)
      log_warn("role not created", {{"role", role.name}, {"error", made.error().message()}});
  }
  // All of them first: they are members of one another.
  for (const auto* role : created) {
    if (role->grants.empty()) continue;
    if (auto done = target.exec(role->grants); !done) {
      log_warn("role incomplete", {{"role", role->name}, {"error", done.error().message()}});
    }
  }
  return {};
}

bool is_superuser(const pg::Connection& db) {
  return db.parameter("is_superuser") == "on";
}

Result<bool> can_keep_owners(pg::Connection& source, pg::Connection& target) {
  TRY(const auto missing, missing_roles(source, target));
  if (!missing.empty()) return false;
  if (is_superuser(target)) return true;
  TRY(const auto used,
      source.query(std::string(kUsedRoles) + "select r.rolname from pg_catalog.pg_roles r "
                                             "where r.oid in (select owner from owned) "
                                             "and r.rolname !~ '^pg_'"));
  for (std::size_t row = 0; row < used.size(); row++) {
    TRY(const auto member,
        target.query("select pg_catalog.pg_has_role(current_user, $1::name, 'usage')",
                     {used.param(row, 0)}));
    if (!member.boolean(0, 0)) return false;
  }
  return true;
}

Result<std::vector<std::string>> database_settings(pg::Connection& source, pg::Connection& target) {
  TRY(const auto database, database_name(target));
  std::vector<std::string> statements;
  TRY(const auto comment,
      source.query("select pg_catalog.shobj_description(oid, 'pg_database') from "
                   "pg_catalog.pg_database where datname = current_database()"));
  if (!comment.is_null(0, 0)) {
    statements.push_back(fmt::format("comment on database {} is {};", database,
                                     pg::quote_literal(comment.text(0, 0))));
  }
  TRY_VOID(add_settings(source, database, statements));
  TRY_VOID(add_grants(source, database, statements));
  return statements;
}

}  // namespace banyan::replication
