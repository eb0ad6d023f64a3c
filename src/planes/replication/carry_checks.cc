#include "planes/replication/carry_checks.h"

#include <fmt/format.h>

#include <algorithm>

#include "planes/replication/extension_rows.h"
#include "planes/replication/outside_log.h"
#include "planes/replication/pg_client.h"
#include "planes/replication/roles.h"
#include "planes/replication/schema.h"

namespace banyan::replication {
namespace {

Finding ask(pg::Connection& db, std::string id, Severity severity, std::string title,
            const std::string& sql) {
  return found_in(std::move(id), severity, std::move(title), db.query(sql));
}

// Whether the target has the object that `sql` looks for by its only parameter.
bool has(pg::Connection& db, const std::string& sql, const std::string& name) {
  auto rows = db.query(sql, {name});
  return rows && !rows->empty();
}

Finding check_client(pg::Connection& source, pg::Connection& target) {
  const int newer = std::max(source.server_version(), target.server_version()) / 10000;
  const auto tool = find_pg_dump(newer);
  return found("carry.pg_dump", Severity::kShould, "pg_dump is as new as the newer server",
               tool ? "" : tool.error().message() + ". " + tool.error().remedy());
}

Finding check_roles(pg::Connection& source, pg::Connection& target) {
  const auto missing = missing_roles(source, target);
  if (!missing) {
    return found("carry.roles", Severity::kShould, "The target has every role that objects name",
                 "could not be asked: " + missing.error().message());
  }
  std::string names;
  std::string creates;
  std::string grants;
  for (const auto& role : *missing) {
    names += (names.empty() ? "" : ", ") + role.name;
    creates += role.create() + "\n";
    if (!role.grants.empty()) grants += role.grants + "\n";
  }
  if (!names.empty()) {
    names += is_superuser(target) ? ": will be created, without passwords"
                                  : ": without them owners and grants are left out";
  }
  return found("carry.roles", is_superuser(target) ? Severity::kInfo : Severity::kShould,
               "The target has every role that objects name", names, creates + grants);
}

Finding check_owners(pg::Connection& source, pg::Connection& target) {
  const auto keeps = can_keep_owners(source, target);
  const bool missing_only = is_superuser(target);
  const bool ok = missing_only || (keeps && *keeps);
  return found(
      "carry.owners", Severity::kShould, "Our role may give objects their owners",
      ok ? "" : "everything on the target will belong to our role, and grants are left out",
      "-- grant the owners' roles to ours, on the target\n");
}

Finding check_database(pg::Connection& source, pg::Connection& target) {
  const auto statements = database_settings(source, target);
  const bool may =
      is_superuser(target) ||
      has(target,
          "select 1 from pg_catalog.pg_database where datname = current_database() and "
          "pg_catalog.pg_has_role(datdba, 'usage') and $1 = ''",
          "");
  std::string fix;
  for (std::size_t i = 0; statements && i < statements->size(); i++) fix += (*statements)[i] + "\n";
  return found(
      "carry.database", Severity::kShould, "Our role may set the target database's settings",
      fix.empty() || may ? "" : "the database's settings, comment or grants are not carried", fix);
}

// Settings of the database, and of roles in it, that only a superuser may set.
Finding check_settings(pg::Connection& source, pg::Connection& target) {
  std::string trouble;
  const auto set = source.query(
      "select distinct split_part(s.entry, '=', 1) from pg_catalog.pg_db_role_setting d cross join "
      "lateral unnest(d.setconfig) s(entry) where d.setdatabase = (select oid from "
      "pg_catalog.pg_database where datname = current_database()) order by 1");
  for (std::size_t row = 0; set && row < set->size() && !is_superuser(target); row++) {
    const auto name = set->str(row, 0);
    if (!has(target, "select 1 from pg_catalog.pg_settings where name = $1 and context <> 'user'",
             name))
      continue;
    trouble += (trouble.empty() ? "" : ", ") + name;
  }
  if (!trouble.empty()) trouble = "only a superuser may set on the target: " + trouble;
  return found("carry.settings", Severity::kShould, "Our role may set every setting in use",
               trouble);
}

Finding check_event_triggers(pg::Connection& source, pg::Connection& target) {
  if (is_superuser(target)) {
    return found("carry.event_triggers", Severity::kMust, "Event triggers can be created", "");
  }
  return ask(
      source, "carry.event_triggers", Severity::kMust, "Event triggers can be created",
      "select 'event trigger ' || quote_ident(evtname) || ' needs a superuser on the target', "
      "'drop event trigger ' || quote_ident(evtname) || '; -- or connect as superuser' from "
      "pg_catalog.pg_event_trigger where evtname !~ '^banyan_'");
}

Finding check_extensions(pg::Connection& source, pg::Connection& target) {
  std::string trouble;
  std::string fix;
  auto used =
      source.query("select extname from pg_catalog.pg_extension where extname <> 'plpgsql'");
  const bool knows_trust = target.server_version() >= 130000;
  for (std::size_t row = 0; used && row < used->size() && !is_superuser(target); row++) {
    const auto name = used->str(row, 0);
    if (has(target, "select 1 from pg_catalog.pg_extension where extname = $1", name)) continue;
    if (knows_trust &&
        has(target,
            "select 1 from pg_catalog.pg_available_extension_versions where name = $1 and trusted",
            name)) {
      continue;
    }
    trouble += (trouble.empty() ? "" : ", ") + name;
    fix += "create extension if not exists " + pg::quote_ident(name) + ";\n";
  }
  if (!trouble.empty()) trouble = "a superuser must create on the target: " + trouble;
  return found("carry.extensions", Severity::kMust, "Our role may create the extensions", trouble,
               fix);
}

Finding check_extension_versions(pg::Connection& source, pg::Connection& target) {
  std::string trouble;
  auto used = source.query("select extname, extversion from pg_catalog.pg_extension");
  for (std::size_t row = 0; used && row < used->size(); row++) {
    auto there = target.query(
        "select default_version from pg_catalog.pg_available_extensions where name = $1",
        {used->param(row, 0)});
    if (!there || there->empty() || there->text(0, 0) == used->text(row, 1)) continue;
    trouble +=
        fmt::format("{}{} is {} on the source and {} on the target", trouble.empty() ? "" : "; ",
                    used->text(row, 0), used->text(row, 1), there->text(0, 0));
  }
  return found("carry.extension_versions", Severity::kInfo, "Extensions have the same version",
               trouble);
}

Finding check_collations(pg::Connection& source, pg::Connection& target) {
  std::string trouble;
  auto used = source.query(
      "select distinct c.collname from pg_catalog.pg_depend d join pg_catalog.pg_collation c "
      "on c.oid = d.refobjid join pg_catalog.pg_namespace n on n.oid = c.collnamespace "
      "where d.refclassid = 'pg_catalog.pg_collation'::pg_catalog.regclass "
      "and n.nspname = 'pg_catalog'");
  for (std::size_t row = 0; used && row < used->size(); row++) {
    if (has(target, "select 1 from pg_catalog.pg_collation where collname = $1",
            used->str(row, 0))) {
      continue;
    }
    trouble += (trouble.empty() ? "" : ", ") + used->str(row, 0);
  }
  if (!trouble.empty()) trouble = "not on the target: " + trouble;
  return found("carry.collations", Severity::kMust, "The target has the collations in use",
               trouble);
}

Finding check_locale(pg::Connection& source, pg::Connection& target) {
  const std::string sql =
      "select datcollate || '/' || datctype from pg_catalog.pg_database where datname = "
      "current_database()";
  auto here = source.query(sql);
  auto there = target.query(sql);
  const bool differs = here && there && here->text(0, 0) != there->text(0, 0);
  return found("carry.locale", Severity::kShould, "Both databases sort text alike",
               differs
                   ? fmt::format("{} on the source, {} on the target: the order of text, and what "
                                 "upper() and lower() give, may differ",
                                 here->text(0, 0), there->text(0, 0))
                   : "");
}

// Everything that the server lets only superusers make. Members of extensions come with them.
constexpr std::string_view kForSuperusers = R"sql(
select pg_catalog.pg_describe_object(o.classid, o.objid, 0) || ': only a superuser may create it',
  ''
from (
    select 'pg_opclass'::regclass::oid classid, oid objid from pg_catalog.pg_opclass
  union all select 'pg_opfamily'::regclass, oid from pg_catalog.pg_opfamily
  union all select 'pg_type'::regclass, t.oid from pg_catalog.pg_type t where t.typtype = 'b'
      and not exists (select 1 from pg_catalog.pg_type e where e.typarray = t.oid)
  union all select 'pg_cast'::regclass, oid from pg_catalog.pg_cast where castmethod = 'b'
  union all select 'pg_ts_parser'::regclass, oid from pg_catalog.pg_ts_parser
  union all select 'pg_ts_template'::regclass, oid from pg_catalog.pg_ts_template
  union all select 'pg_am'::regclass, oid from pg_catalog.pg_am
  union all select 'pg_language'::regclass, oid from pg_catalog.pg_language
  union all select 'pg_foreign_data_wrapper'::regclass, oid
      from pg_catalog.pg_foreign_data_wrapper) o
where o.objid >= 16384 and not exists (select 1 from pg_catalog.pg_depend d where d.classid =
  o.classid and d.objid = o.objid and d.deptype in ('e', 'i')) order by 1)sql";

// Writing is refused there as reading is here.
Finding check_row_security(pg::Connection& source, pg::Connection& target) {
  constexpr auto kTitle = "Our role may write past row security on the target";
  const bool may =
      has(target,
          "select 1 from pg_catalog.pg_roles where rolname = current_user and (rolbypassrls or "
          "rolsuper) and $1 = ''",
          "");
  if (may) return found("carry.row_security", Severity::kMust, kTitle, "");
  return ask(source, "carry.row_security", Severity::kMust, kTitle,
             fmt::format("select oid::regclass || ' forces row security', 'alter role ' || {} || ' "
                         "bypassrls; -- on the target' from pg_catalog.pg_class where "
                         "relrowsecurity and relforcerowsecurity",
                         pg::quote_literal(our_role(target))));
}

Finding check_superuser_objects(pg::Connection& source, pg::Connection& target) {
  constexpr auto kTitle = "Our role may create every kind of object in use";
  if (is_superuser(target)) return found("carry.superuser_objects", Severity::kMust, kTitle, "");
  return ask(source, "carry.superuser_objects", Severity::kMust, kTitle,
             std::string(kForSuperusers));
}

Finding check_untrusted_code(pg::Connection& source, pg::Connection& target) {
  if (is_superuser(target)) {
    return found("carry.functions", Severity::kMust, "Every function can be created", "");
  }
  return ask(
      source, "carry.functions", Severity::kMust, "Every function can be created",
      "select 'function ' || p.oid::regprocedure || case when p.proleakproof then ' is "
      "leakproof' else ' is written in ' || l.lanname end || ': only a superuser may create "
      "it', '' from pg_catalog.pg_proc p join pg_catalog.pg_language l on l.oid = p.prolang "
      "join pg_catalog.pg_namespace n on n.oid = p.pronamespace where n.nspname !~ '^pg_' and "
      "n.nspname not in ('information_schema', 'banyan') and (not l.lanpltrusted and "
      "l.lanname <> 'sql' or p.proleakproof) and not exists (select 1 from "
      "pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_proc'::regclass and d.objid = "
      "p.oid and d.deptype in ('e', 'i')) and not exists (select 1 from pg_catalog.pg_aggregate a "
      "where a.aggfnoid = p.oid)");
}

std::string listed(const std::vector<std::string>& names) {
  return fmt::format("{}", fmt::join(names, ", "));
}

Finding check_tablespaces(pg::Connection& source, pg::Connection& target) {
  constexpr auto kTitle = "The target has the tablespaces in use, for our role";
  const auto missing = missing_tablespaces(source, target);
  if (!missing) {
    return found("carry.tablespaces", Severity::kInfo, kTitle,
                 "could not be asked: " + missing.error().message());
  }
  std::string fix;
  for (const auto& name : *missing) {
    fix += fmt::format(
        "-- create tablespace {0} location '...';\n"
        "grant create on tablespace {0} to current_user;\n",
        pg::quote_ident(name));
  }
  return found(
      "carry.tablespaces", Severity::kInfo, kTitle,
      missing->empty() ? "" : listed(*missing) + ": all objects move to the default tablespace",
      fix);
}

Finding check_security_labels(pg::Connection& source, pg::Connection& target) {
  constexpr auto kTitle = "The target knows the providers of security labels";
  const auto missing = missing_label_providers(source, target);
  if (!missing) {
    return found("carry.security_labels", Severity::kShould, kTitle,
                 "could not be asked: " + missing.error().message());
  }
  if (missing->empty()) {
    return ask(source, "carry.security_labels", Severity::kShould, kTitle,
               "select 'label of ' || objtype || ' ' || objname || ' is not carried: set it on the "
               "target', 'security label for ' || quote_ident(provider) || ' on ' || objtype || ' '"
               " || objname || ' is ' || quote_literal(label) || ';' from pg_catalog.pg_seclabels "
               "where objtype in ('role', 'tablespace')");
  }
  return found("carry.security_labels", Severity::kShould, kTitle,
               "no label is carried: the target has not loaded " + listed(*missing),
               "-- load it there: alter system set shared_preload_libraries = ...; restart\n");
}

Finding check_role_differences(pg::Connection& source, pg::Connection& target) {
  constexpr auto kTitle = "Roles that both sides have are alike";
  const auto differing = differing_roles(source, target);
  if (!differing) {
    return found("carry.role_differences", Severity::kShould, kTitle,
                 "could not be asked: " + differing.error().message());
  }
  std::string trouble;
  std::string fix;
  for (const auto& role : *differing) {
    trouble += fmt::format("{}{} is on the source: {} {}", trouble.empty() ? "" : "; ", role.name,
                           role.attributes, role.grants);
    fix += role.alter() + "\n";
  }
  return found("carry.role_differences", Severity::kShould, kTitle, trouble, fix);
}

// A restore says which rights differ from a new database's.
Finding check_target_privileges(pg::Connection& target) {
  return ask(
      target, "carry.target_default_privileges", Severity::kShould,
      "The target gives new objects no rights of its own",
      fmt::format("select what || ' apply to what is made there', undo from ({}) p(id, what, "
                  "undo) where pg_catalog.to_regclass('banyan.migration') is null",
                  default_privileges_sql()));
}

Finding check_database_owner(pg::Connection& source, pg::Connection& target) {
  const std::string sql =
      "select pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(datdba)), "
      "pg_catalog.quote_ident(datname) from pg_catalog.pg_database where datname = "
      "current_database()";
  const auto here = source.query(sql);
  const auto there = target.query(sql);
  const bool differs = here && there && here->text(0, 0) != there->text(0, 0);
  return found(
      "carry.database_owner", Severity::kInfo, "Both databases belong to the same role",
      differs
          ? fmt::format("{} on the source, {} on the target", here->text(0, 0), there->text(0, 0))
          : "",
      differs ? fmt::format("alter database {} owner to {};\n", there->text(0, 1), here->text(0, 0))
              : "");
}

// What of an extension's rows our role cannot read here, or write there.
std::string extension_trouble(pg::Connection& source, pg::Connection& target,
                              const ExtensionTable& table, std::string& fix) {
  const auto may = [](pg::Connection& db, const std::string& name, std::string_view rights) {
    const auto rows = db.query(
        fmt::format("select pg_catalog.bool_and(pg_catalog.has_table_privilege(c.oid, r)) from "
                    "pg_catalog.pg_class c, unnest(array[{}]) r where c.oid = "
                    "pg_catalog.to_regclass($1)",
                    rights),
        {name});
    return rows && rows->boolean(0, 0);
  };
  if (!may(source, table.qualified, "'select'")) {
    fix += fmt::format("grant select on {} to {}; -- on the source\n", table.qualified,
                       our_role(source));
    return "cannot be read by our role";
  }
  const auto digest = extension_rows_digest(source, table);
  if (!digest) return digest.error().message();
  if (*digest == "0 " || is_superuser(target)) return "";
  constexpr auto kRights = "'select', 'insert', 'delete'";
  if (may(target, table.qualified, table.is_sequence ? "'select', 'update'" : kRights)) return "";
  fix +=
      fmt::format("create extension if not exists {}; grant select, {} on {} to {};\n",
                  pg::quote_ident(table.extension), table.is_sequence ? "update" : "insert, delete",
                  table.qualified, our_role(target));
  return "cannot be written by our role on the target";
}

Finding check_extension_rows_rights(pg::Connection& source, pg::Connection& target,
                                    const TableNames& tables) {
  constexpr auto kTitle = "Rows of yours in tables of extensions can be carried";
  const auto config = extension_tables(source, tables);
  if (!config) {
    return found("carry.extension_rows", Severity::kMust, kTitle,
                 "could not be asked: " + config.error().message());
  }
  std::string trouble;
  std::string fix;
  for (const auto& table : *config) {
    const auto one = extension_trouble(source, target, table, fix);
    if (one.empty()) continue;
    trouble += fmt::format("{}{} (extension {}) {}", trouble.empty() ? "" : "; ", table.qualified,
                           table.extension, one);
  }
  return found("carry.extension_rows", Severity::kMust, kTitle, trouble, fix);
}

std::vector<Finding> check_left_out(pg::Connection& source) {
  return {
      ask(source, "carry.publications", Severity::kShould, "Nobody else reads the source's log",
          "select 'publication ' || quote_ident(pubname) || ' is not carried: create it on the "
          "target when its subscribers move', '' from pg_catalog.pg_publication where pubname !~ "
          "'^banyan_'"),
      ask(source, "carry.subscriptions", Severity::kShould,
          "Nothing else is replicated into the source",
          "select 'subscription ' || quote_ident(subname) || ' is not carried: what it brings must "
          "come to the target after the switch', 'alter subscription ' || quote_ident(subname) || "
          "' disable; -- in the switch' from pg_catalog.pg_subscription where subdbid = (select "
          "oid from pg_catalog.pg_database where datname = current_database())"),
      ask(source, "carry.user_mappings", Severity::kShould,
          "The options of user mappings can be read",
          "select 'user mapping of ' || usename || ' for server ' || srvname || ': its options are "
          "hidden from our role and not carried', 'alter user mapping for ' || case umuser when 0 "
          "then 'public' else quote_ident(usename) end || ' server ' || quote_ident(srvname) || ' "
          "options (add user ''...'', add password ''...''); -- on the target' from "
          "pg_catalog.pg_user_mappings where umoptions is null and not (select rolsuper from "
          "pg_catalog.pg_roles where rolname = current_user)"),
  };
}

Finding check_large_objects(pg::Connection& source, const TableNames& tables) {
  if (!tables.empty()) {
    return ask(source, "carry.large_objects", Severity::kShould,
               "Large objects can be carried in the pause",
               "select 'large objects belong to no table: a split leaves all of them behind', '' "
               "from pg_catalog.pg_largeobject_metadata having count(*) > 0");
  }
  return ask(
      source, "carry.large_objects", Severity::kMust, "Large objects can be carried in the pause",
      fmt::format("select 'they hold ' || bytes / 1048576 || ' MB: at most {} MB are carried', "
                  "'vacuum full pg_catalog.pg_largeobject; -- or move them into a table or "
                  "files' from (select pg_catalog.pg_relation_size("
                  "'pg_catalog.pg_largeobject') as bytes) s where bytes > {}",
                  kLargeObjectBytesMax >> 20, kLargeObjectBytesMax));
}

Finding check_unlogged(pg::Connection& source) {
  return ask(
      source, "carry.unlogged", Severity::kMust, "Unlogged tables can be carried in the pause",
      fmt::format("select 'they hold ' || sum(bytes) / 1048576 || ' MB: at most {} MB are "
                  "carried', string_agg('truncate ' || name || '; -- or: alter table ' || name "
                  "|| ' set logged;', ' ') from (select pg_catalog.pg_table_size(oid) as bytes, "
                  "oid::regclass::text as name from pg_catalog.pg_class where relkind = 'r' and "
                  "relpersistence = 'u') u having sum(bytes) > {}",
                  kUnloggedBytesMax >> 20, kUnloggedBytesMax));
}

Finding check_target_objects(pg::Connection& target) {
  return ask(
      target, "carry.target_large_objects", Severity::kMust,
      "The target has no large objects of its own",
      "select count(*) || ' large objects would be taken for the source''s', 'select "
      "pg_catalog.lo_unlink(oid) from pg_catalog.pg_largeobject_metadata;' from "
      "pg_catalog.pg_largeobject_metadata where pg_catalog.to_regclass('banyan.migration') is "
      "null having count(*) > 0");
}

}  // namespace

std::vector<Finding> carry_checks(pg::Connection& source, pg::Connection& target,
                                  const TableNames& tables) {
  std::vector<Finding> findings;
  findings.push_back(check_client(source, target));
  findings.push_back(check_roles(source, target));
  findings.push_back(check_owners(source, target));
  findings.push_back(check_database(source, target));
  findings.push_back(check_settings(source, target));
  findings.push_back(check_event_triggers(source, target));
  findings.push_back(check_extensions(source, target));
  findings.push_back(check_extension_versions(source, target));
  findings.push_back(check_collations(source, target));
  findings.push_back(check_locale(source, target));
  findings.push_back(check_untrusted_code(source, target));
  findings.push_back(check_superuser_objects(source, target));
  findings.push_back(check_row_security(source, target));
  findings.push_back(check_role_differences(source, target));
  findings.push_back(check_database_owner(source, target));
  findings.push_back(check_tablespaces(source, target));
  findings.push_back(check_security_labels(source, target));
  findings.push_back(check_extension_rows_rights(source, target, tables));
  for (auto& finding : check_left_out(source)) findings.push_back(std::move(finding));
  findings.push_back(check_large_objects(source, tables));
  findings.push_back(check_unlogged(source));
  findings.push_back(check_target_objects(target));
  findings.push_back(check_target_privileges(target));
  return findings;
}

}  // namespace banyan::replication
