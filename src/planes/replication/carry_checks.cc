#include "planes/replication/carry_checks.h"

#include <fmt/format.h>

#include "planes/replication/outside_log.h"
#include "planes/replication/pg_client.h"
#include "planes/replication/roles.h"

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
    creates += role.create + "\n";
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

Finding check_access_methods(pg::Connection& source, pg::Connection& target) {
  std::string trouble;
  auto used = source.query(
      "select distinct a.amname from pg_catalog.pg_class c join pg_catalog.pg_am a on a.oid = "
      "c.relam "
      "where c.relkind in ('r', 'm') and a.amname <> 'heap'");
  for (std::size_t row = 0; used && row < used->size(); row++) {
    if (has(target, "select 1 from pg_catalog.pg_am where amname = $1", used->str(row, 0)))
      continue;
    trouble += (trouble.empty() ? "" : ", ") + used->str(row, 0);
  }
  return found("carry.access_methods", Severity::kShould, "Tables are stored as heaps",
               trouble.empty() ? "" : "stored in another way, will be heaps: " + trouble);
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
      "p.oid and d.deptype = 'e')");
}

std::vector<Finding> check_left_out(pg::Connection& source) {
  return {
      ask(source, "carry.tablespaces", Severity::kInfo, "Everything is in the default tablespace",
          "select 'tablespace ' || quote_ident(spcname) || ': its objects move to the default "
          "one', "
          "'' from pg_catalog.pg_tablespace where oid in (select reltablespace from "
          "pg_catalog.pg_class) and spcname !~ '^pg_'"),
      ask(source, "carry.security_labels", Severity::kShould, "There are no security labels",
          "select count(*) || ' security labels are not carried', '' from "
          "pg_catalog.pg_seclabels where provider <> '' having count(*) > 0"),
      ask(source, "carry.publications", Severity::kShould, "Nobody else reads the source's log",
          "select 'publication ' || quote_ident(pubname) || ' is not carried: create it on the "
          "target when its subscribers move', '' from pg_catalog.pg_publication where pubname !~ "
          "'^banyan_'"),
      ask(source, "carry.extension_config", Severity::kShould,
          "Extensions keep no rows of yours in tables of their own",
          "select 'rows of ' || t.oid::regclass || ' (extension ' || e.extname || ') are not "
          "carried',"
          " '' from pg_catalog.pg_extension e, unnest(e.extconfig, e.extcondition) c(id, "
          "condition) join pg_catalog.pg_class t on t.oid = c.id where t.relkind = 'r' and "
          "pg_catalog.query_to_xml(pg_catalog.format('select from %s %s limit 1', "
          "t.oid::regclass, c.condition), false, true, '')::text <> ''"),
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
  findings.push_back(check_event_triggers(source, target));
  findings.push_back(check_extensions(source, target));
  findings.push_back(check_extension_versions(source, target));
  findings.push_back(check_collations(source, target));
  findings.push_back(check_locale(source, target));
  findings.push_back(check_access_methods(source, target));
  findings.push_back(check_untrusted_code(source, target));
  for (auto& finding : check_left_out(source)) findings.push_back(std::move(finding));
  findings.push_back(check_large_objects(source, tables));
  findings.push_back(check_unlogged(source));
  findings.push_back(check_target_objects(target));
  return findings;
}

}  // namespace banyan::replication
