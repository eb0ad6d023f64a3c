#include "planes/replication/roles.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/log.h"

namespace banyan::replication {
namespace {

// Owners are asked for by themselves: the dependency list leaves out the bootstrap superuser. What
// belongs to an extension gets its owner with it.
constexpr std::string_view kUsedRoles = R"sql(
with recursive owned(owner) as (
    select nspowner from pg_catalog.pg_namespace
    where nspname !~ '^pg_' and nspname not in ('information_schema', 'banyan')
  union select c.relowner from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'banyan')
    and not exists (select 1 from pg_catalog.pg_depend d where d.classid =
      'pg_catalog.pg_class'::pg_catalog.regclass and d.objid = c.oid
      and d.deptype in ('e', 'a', 'i')) and c.relkind not in ('i', 'I')),
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

// Name, attributes, what is granted to it and said of it. {0}: grants on parameters (from 15 on).
constexpr std::string_view kRoles = R"sql(
select r.rolname, case when r.rolsuper then 'superuser' else 'nosuperuser' end
  || case when r.rolinherit then ' inherit' else ' noinherit' end
  || case when r.rolcanlogin then ' login' else ' nologin' end
  || case when r.rolcreaterole then ' createrole' else ' nocreaterole' end
  || case when r.rolcreatedb then ' createdb' else ' nocreatedb' end
  || case when r.rolreplication then ' replication' else ' noreplication' end
  || case when r.rolbypassrls then ' bypassrls' else ' nobypassrls' end
  || ' connection limit ' || r.rolconnlimit
  || coalesce(' valid until ' || quote_literal(r.rolvaliduntil), ''),
  coalesce((select string_agg('grant ' || quote_ident(g.rolname) || ' to ' ||
    quote_ident(r.rolname) || case when m.admin_option then ' with admin option' else ''
    end || ';', ' ' order by g.rolname) from (select roleid, bool_or(admin_option) as admin_option
      from pg_catalog.pg_auth_members where member = r.oid group by roleid) m
    join pg_catalog.pg_roles g on g.oid = m.roleid), '') || {0}
  || coalesce(' comment on role ' || quote_ident(r.rolname) || ' is ' || quote_literal(
    pg_catalog.shobj_description(r.oid, 'pg_authid')) || ';', '')
from pg_catalog.pg_roles r where )sql";

constexpr std::string_view kParameters = R"sql(coalesce((select string_agg(' grant ' || lower(
    a.privilege_type) || ' on parameter ' || p.parname || ' to ' || quote_ident(r.rolname) ||
    case when a.is_grantable then ' with grant option' else '' end || ';', '' order by p.parname,
    a.privilege_type) from pg_catalog.pg_parameter_acl p
  cross join lateral pg_catalog.aclexplode(p.paracl) a
  where a.grantee = r.oid and not r.rolsuper), ''))sql";

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

// What its owner has follows when both databases have the same one.
Result<void> add_grants(pg::Connection& source, pg::Connection& target, const std::string& database,
                        std::vector<std::string>& statements) {
  TRY(const auto owner, target.query("select pg_catalog.pg_get_userbyid(datdba) from "
                                     "pg_catalog.pg_database where datname = current_database()"));
  TRY(const auto rows,
      source.query("select a.privilege_type, r.rolname, a.is_grantable, a.grantee = d.datdba from "
                   "pg_catalog.pg_database d cross join lateral aclexplode(d.datacl) a "
                   "left join pg_catalog.pg_roles r on r.oid = a.grantee where d.datname = "
                   "current_database() and (a.grantee <> d.datdba or r.rolname = $1)",
                   {owner.param(0, 0)}));
  TRY(const auto changed, source.query("select 1 from pg_catalog.pg_database where datname = "
                                       "current_database() and datacl is not null"));
  if (changed.empty()) return {};
  statements.push_back(fmt::format("revoke all on database {} from public;", database));
  bool has_owner = false;
  for (std::size_t row = 0; row < rows.size(); row++) {
    const auto whom = rows.is_null(row, 1) ? "public" : pg::quote_ident(rows.text(row, 1));
    if (rows.boolean(row, 3) && !std::exchange(has_owner, true)) {
      statements.push_back(fmt::format("revoke all on database {} from {};", database, whom));
    }
    statements.push_back(fmt::format("grant {} on database {} to {}{};", rows.text(row, 0),
                                     database, whom,
                                     rows.boolean(row, 2) ? " with grant option" : ""));
  }
  return {};
}

// Of the database itself, as far as the target has their providers.
Result<void> add_labels(pg::Connection& source, pg::Connection& target,
                        std::vector<std::string>& statements) {
  TRY(const auto absent, missing_label_providers(source, target));
  TRY(const auto rows,
      source.query("select l.provider, l.label from pg_catalog.pg_shseclabel l where l.classoid = "
                   "'pg_catalog.pg_database'::pg_catalog.regclass and l.objoid = (select oid from "
                   "pg_catalog.pg_database where datname = current_database())"));
  TRY(const auto database, database_name(target));
  for (std::size_t row = 0; row < rows.size(); row++) {
    if (std::ranges::find(absent, rows.text(row, 0)) != absent.end()) continue;
    statements.push_back(fmt::format("security label for {} on database {} is {};",
                                     pg::quote_ident(rows.text(row, 0)), database,
                                     pg::quote_literal(rows.text(row, 1))));
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

Result<std::vector<RoleScript>> read_roles(pg::Connection& db, std::string_view with,
                                           const std::string& which) {
  const auto parameters = db.server_version() >= 150000 ? kParameters : "''";
  TRY(const auto rows,
      db.query(fmt::format("{}{}{} order by 1", with, fmt::format(kRoles, parameters), which)));
  std::vector<RoleScript> roles;
  for (std::size_t row = 0; row < rows.size(); row++) {
    RoleScript script{rows.str(row, 0), rows.str(row, 1), rows.str(row, 2)};
    TRY(const auto settings, role_settings(db, script.name));
    for (const auto& setting : settings)
      script.grants += (script.grants.empty() ? "" : " ") + setting;
    roles.push_back(std::move(script));
  }
  return roles;
}

Result<std::vector<RoleScript>> used_roles(pg::Connection& source) {
  return read_roles(source, kUsedRoles, "r.oid in (select oid from used) and r.rolname !~ '^pg_'");
}

}  // namespace

std::string RoleScript::create() const {
  return fmt::format("create role {} with {};", pg::quote_ident(name), attributes);
}

std::string RoleScript::alter() const {
  return fmt::format("alter role {} with {}; {}", pg::quote_ident(name), attributes, grants);
}

Result<std::vector<RoleScript>> missing_roles(pg::Connection& source, pg::Connection& target) {
  TRY(auto used, used_roles(source));
  std::vector<RoleScript> missing;
  for (auto& role : used) {
    TRY(const auto there,
        target.query("select 1 from pg_catalog.pg_roles where rolname = $1", {role.name}));
    if (there.empty()) missing.push_back(std::move(role));
  }
  return missing;
}

Result<std::vector<RoleScript>> differing_roles(pg::Connection& source, pg::Connection& target) {
  TRY(auto used, used_roles(source));
  std::vector<RoleScript> differing;
  for (auto& role : used) {
    TRY(const auto there, read_roles(target, "", "r.rolname = " + pg::quote_literal(role.name)));
    const bool differs = !there.empty() &&
                         (there[0].attributes != role.attributes || there[0].grants != role.grants);
    if (differs) differing.push_back(std::move(role));
  }
  return differing;
}

Result<void> carry_roles(pg::Connection& source, pg::Connection& target) {
  TRY(const auto missing, missing_roles(source, target));
  std::vector<const RoleScript*> created;
  for (const auto& role : missing) {
    auto made = target.exec(role.create());
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

Result<std::vector<std::string>> missing_label_providers(pg::Connection& source,
                                                         pg::Connection& target) {
  TRY(const auto used,
      source.query("select distinct provider from pg_catalog.pg_seclabels order by 1"));
  std::vector<std::string> missing;
  for (std::size_t row = 0; row < used.size(); row++) {
    const auto probe = target.exec(
        fmt::format("begin; create temp table banyan_label(); security label for {} on table "
                    "pg_temp.banyan_label is null",
                    pg::quote_literal(used.text(row, 0))));
    const bool is_absent = !probe && target.last_sqlstate() == "22023";  // none of that name
    TRY_VOID(target.exec("rollback"));
    if (is_absent) missing.push_back(used.str(row, 0));
  }
  return missing;
}

std::string our_role(pg::Connection& db) {
  const auto rows = db.query("select pg_catalog.quote_ident(current_user)");
  return rows ? rows->str(0, 0) : "our_role";
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

std::string default_privileges_sql() {
  return R"sql(
select d.oid, 'default privileges of ' || r.rolname || ' on ' || k.kind || coalesce(' in schema ' ||
    n.nspname, ''),
  (select string_agg(distinct s.begins || ' revoke all on ' || k.kind || ' from ' || case a.grantee
      when 0 then 'public' else quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) end || '; ', '')
    from pg_catalog.aclexplode(d.defaclacl) a) ||
  case when n.oid is null then s.begins || ' grant all on ' || k.kind || ' to ' ||
    quote_ident(r.rolname) || ';' || case k.kind when 'functions' then ' ' || s.begins ||
    ' grant execute on functions to public;' when 'types' then ' ' || s.begins ||
    ' grant usage on types to public;' else '' end else '' end
from pg_catalog.pg_default_acl d join pg_catalog.pg_roles r on r.oid = d.defaclrole
left join pg_catalog.pg_namespace n on n.oid = d.defaclnamespace
cross join lateral (select case d.defaclobjtype when 'r' then 'tables' when 'S' then 'sequences'
  when 'f' then 'functions' when 'T' then 'types' when 'n' then 'schemas' else 'large objects' end
  as kind) k
cross join lateral (select 'alter default privileges for role ' || quote_ident(r.rolname) ||
  coalesce(' in schema ' || quote_ident(n.nspname), '') as begins) s
)sql";
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
  TRY_VOID(add_grants(source, target, database, statements));
  TRY_VOID(add_labels(source, target, statements));
  return statements;
}

}  // namespace banyan::replication
