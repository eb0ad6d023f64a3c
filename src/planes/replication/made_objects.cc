#include "planes/replication/made_objects.h"

#include <fmt/format.h>

#include <algorithm>

#include "planes/replication/roles.h"

namespace banyan::replication {
namespace {

constexpr std::string_view kTable =
    "create table if not exists banyan.made(migration text, classid oid, objid oid, primary key "
    "(migration, classid, objid));\n";

// Every object that a pg_dump creates by itself; {0} filters by the catalog row's xmin. What
// belongs to another object (a row type, an identity's sequence, a member of an extension) goes
// with it.
constexpr std::string_view kObjects = R"sql(
select o.classid, o.objid from (
    select 'pg_class'::regclass::oid classid, oid objid, xmin x from pg_catalog.pg_class
      where relkind in ('r', 'p', 'v', 'm', 'S', 'f') and relpersistence <> 't'
  union all select 'pg_type'::regclass, t.oid, t.xmin from pg_catalog.pg_type t
      left join pg_catalog.pg_class c on c.oid = t.typrelid
      where (t.typrelid = 0 or c.relkind = 'c') and t.typelem = 0
  union all select 'pg_proc'::regclass, oid, xmin from pg_catalog.pg_proc
  union all select 'pg_namespace'::regclass, oid, xmin from pg_catalog.pg_namespace
      where nspname !~ '^pg_' and nspname not in ('public', 'banyan', 'information_schema')
  union all select 'pg_extension'::regclass, oid, xmin from pg_catalog.pg_extension
  union all select 'pg_operator'::regclass, oid, xmin from pg_catalog.pg_operator
  union all select 'pg_opclass'::regclass, oid, xmin from pg_catalog.pg_opclass
  union all select 'pg_opfamily'::regclass, oid, xmin from pg_catalog.pg_opfamily
  union all select 'pg_cast'::regclass, oid, xmin from pg_catalog.pg_cast
  union all select 'pg_conversion'::regclass, oid, xmin from pg_catalog.pg_conversion
  union all select 'pg_foreign_server'::regclass, oid, xmin from pg_catalog.pg_foreign_server
  union all select 'pg_foreign_data_wrapper'::regclass, oid, xmin
      from pg_catalog.pg_foreign_data_wrapper
  union all select 'pg_user_mapping'::regclass, u.umid, s.xmin from pg_catalog.pg_user_mappings u
      join pg_catalog.pg_foreign_server s on s.oid = u.srvid
  union all select 'pg_collation'::regclass, oid, xmin from pg_catalog.pg_collation
  union all select 'pg_transform'::regclass, oid, xmin from pg_catalog.pg_transform
  union all select 'pg_language'::regclass, oid, xmin from pg_catalog.pg_language
  union all select 'pg_am'::regclass, oid, xmin from pg_catalog.pg_am
  union all select 'pg_event_trigger'::regclass, oid, xmin from pg_catalog.pg_event_trigger
  union all select 'pg_default_acl'::regclass, oid, xmin from pg_catalog.pg_default_acl
  union all select 'pg_ts_parser'::regclass, oid, xmin from pg_catalog.pg_ts_parser
  union all select 'pg_ts_template'::regclass, oid, xmin from pg_catalog.pg_ts_template
  union all select 'pg_ts_dict'::regclass, oid, xmin from pg_catalog.pg_ts_dict
  union all select 'pg_ts_config'::regclass, oid, xmin from pg_catalog.pg_ts_config) o
where {} and not exists (select 1 from pg_catalog.pg_depend d
    where d.classid = o.classid and d.objid = o.objid and d.objsubid = 0
    and d.deptype in ('e', 'i'))
)sql";

// What was made and is still there, newest first; what joined is noted as "migration/...".
constexpr std::string_view kMade = R"sql(
select m.classid, m.objid, replace(i.type, 'foreign-data', 'foreign data'),
  case i.type when 'user mapping' then (select 'for ' || case when u.umuser = 0 then 'public' else
    quote_ident(u.usename) end || ' server ' || quote_ident(u.srvname)
    from pg_catalog.pg_user_mappings u where u.umid = m.objid)
    when 'transform' then replace(i.identity, ' on language ', ' language ')
    else i.identity end
from banyan.made m, pg_catalog.pg_identify_object(m.classid, m.objid, 0) i
where (m.migration = $1 or strpos(m.migration, $1 || '/') = 1) and i.identity is not null
order by m.objid desc
)sql";

// A base type and the functions that read and write it need each other. Whether nobody else needs
// any of them: then the type takes them along.
constexpr std::string_view kStandsAlone = R"sql(
select t.typtype = 'b' and not exists (select 1 from pg_catalog.pg_depend d
    where d.refobjid = any (o.own) and d.objid <> all (o.own))
from pg_catalog.pg_type t cross join lateral (select array[t.oid, t.typarray, t.typinput,
  t.typoutput, t.typreceive, t.typsend, t.typmodin, t.typmodout, t.typanalyze] as own) o
where t.oid = $1::oid)sql";

constexpr std::string_view kUnfenced = R"sql(
select 1 from pg_catalog.pg_class c where c.oid = {} and c.relkind = 'r' and not exists (
  select 1 from pg_catalog.pg_trigger t
  where t.tgrelid = c.oid and t.tgname = 'banyan_fence' and t.tgenabled in ('O', 'A'))
)sql";

struct MadeObject {
  std::int64_t class_id = 0;
  std::int64_t oid = 0;
  std::string type;
  std::string identity;
  std::string why;  // it could not be dropped the last time
  std::string name() const { return type + " " + identity; }
};
using MadeObjectList = std::vector<MadeObject>;

Result<MadeObjectList> read_made(pg::Connection& target, const std::string& migration) {
  TRY(const auto known, target.query("select to_regclass('banyan.made')"));
  if (known.empty() || known.is_null(0, 0)) return MadeObjectList{};
  TRY(const auto rows, target.query(std::string(kMade), {migration}));
  MadeObjectList made;
  for (std::size_t row = 0; row < rows.size(); ++row)
    made.push_back({.class_id = rows.integer(row, 0),
                    .oid = rows.integer(row, 1),
                    .type = rows.str(row, 2),
                    .identity = rows.str(row, 3),
                    .why = {}});
  return made;
}

Result<bool> has_served(pg::Connection& target, const std::string& migration) {
  TRY(const auto rows,
      target.query("select 1 from banyan.migration where name = $1 and open_lsn is not null",
                   {migration}));
  return !rows.empty();
}

// Locks the table first, so that nobody writes between the look and the drop.
Result<bool> may_hold_others_rows(pg::Connection& target, const MadeObject& object) {
  if (object.type != "table") return false;
  TRY_VOID(target.exec("lock table only " + object.identity + " in access exclusive mode"));
  TRY(const auto unfenced, target.query(fmt::format(kUnfenced, object.oid)));
  if (unfenced.empty()) return false;
  TRY(const auto rows, target.query("select 1 from only " + object.identity + " limit 1"));
  return !rows.empty();
}

Result<std::string> drop_statement(pg::Connection& target, const MadeObject& object) {
  if (object.type == "large object")
    return fmt::format("select pg_catalog.lo_unlink({})", object.oid);
  const auto drop = fmt::format("drop {} if exists {}", object.type, object.identity);
  if (object.type == "user mapping") return drop;
  if (object.type == "default acl") {
    TRY(const auto rows,
        target.query(fmt::format("{} where d.oid = {}", default_privileges_sql(), object.oid)));
    return rows.empty() ? "select 1" : rows.str(0, 2);
  }
  if (object.type != "type") return drop + " restrict";
  TRY(const auto rows, target.query(std::string(kStandsAlone), {std::to_string(object.oid)}));
  return drop + (!rows.empty() && rows.boolean(0, 0) ? " cascade" : " restrict");
}

Result<void> drop_in_savepoint(pg::Connection& target, MadeObject& object) {
  TRY_VOID(target.exec("savepoint one"));
  TRY(const auto statement, drop_statement(target, object));
  const auto done = target.exec(statement);
  object.why = done ? "" : done.error().message();
  return target.exec(done ? "release savepoint one" : "rollback to savepoint one");
}

// Moves the tables that must stay from `made` to `kept`.
Result<void> set_aside(pg::Connection& target, MadeObjectList& made,
                       std::vector<KeptObject>& kept) {
  for (MadeObject& object : made) {
    TRY(const bool stays, may_hold_others_rows(target, object));
    if (!stays) continue;
    kept.push_back({object.name(), "its fence was taken away: somebody may have written to it"});
    object.type.clear();
  }
  std::erase_if(made, [](const MadeObject& object) { return object.type.empty(); });
  return {};
}

// Foreign keys between the tables may form circles: without them every order works.
Result<void> drop_foreign_keys(pg::Connection& target, const MadeObjectList& made) {
  std::string oids;
  for (const MadeObject& object : made)
    if (object.type == "table") oids += fmt::format("{}{}", oids.empty() ? "" : ",", object.oid);
  TRY(const auto keys,
      target.query(fmt::format("select conrelid::regclass::text, quote_ident(conname) "
                               "from pg_catalog.pg_constraint where contype = 'f' and "
                               "conparentid = 0 and conrelid = any('{{{0}}}'::oid[]) and "
                               "confrelid = any('{{{0}}}'::oid[])",
                               oids)));
  for (std::size_t row = 0; row < keys.size(); ++row)
    TRY_VOID(target.exec(fmt::format("alter table {} drop constraint if exists {}",
                                     keys.str(row, 0), keys.str(row, 1))));
  return {};
}

// Again and again while something could be dropped: what depended on it may go then.
Result<void> drop_in_passes(pg::Connection& target, MadeObjectList made, MadeReport& report) {
  std::size_t before = 0;
  do {
    before = made.size();
    for (MadeObject& object : made) {
      TRY_VOID(drop_in_savepoint(target, object));
      if (object.why.empty()) report.dropped.push_back(object.name());
    }
    std::erase_if(made, [](const MadeObject& object) { return object.why.empty(); });
  } while (!made.empty() && made.size() < before);
  for (MadeObject& object : made) report.kept.push_back({object.name(), std::move(object.why)});
  return {};
}

Result<MadeReport> drop_in_transaction(pg::Connection& target, const std::string& migration) {
  TRY_VOID(
      target.exec("begin; set local lock_timeout = '5s'; set local client_min_messages = error"));
  MadeReport report;
  TRY(auto made, read_made(target, migration));
  TRY_VOID(set_aside(target, made, report.kept));
  TRY_VOID(drop_foreign_keys(target, made));
  TRY_VOID(drop_in_passes(target, std::move(made), report));
  TRY_VOID(target.exec("commit"));
  return report;
}

}  // namespace

std::string begin_noting_sql() {
  return std::string(kTable) + "create temp table banyan_before on commit drop as " +
         fmt::format(kObjects, "true") + ";\n";
}

std::string end_noting_sql(const std::string& migration) {
  return fmt::format(
      "insert into banyan.made select {}, made.* from ({} except "
      "select * from pg_temp.banyan_before) made on conflict do nothing;\n",
      pg::quote_literal(migration),
      fmt::format(kObjects, "o.x = (pg_catalog.txid_current() % 4294967296)::text::xid"));
}

Result<void> note_large_objects(pg::Connection& target, const std::string& migration) {
  return target.exec(fmt::format(
      "set local client_min_messages = warning; {}insert into banyan.made select {}, "
      "'pg_catalog.pg_largeobject'::regclass, oid from pg_catalog.pg_largeobject_metadata on "
      "conflict do nothing",
      kTable, pg::quote_literal(migration)));
}

Result<MadeReport> drop_made_objects(pg::Connection& target, const std::string& migration) {
  TRY(auto made, read_made(target, migration));
  if (made.empty()) return MadeReport{};
  TRY(const bool served, has_served(target, migration));
  if (served) {
    MadeReport report;
    for (const MadeObject& object : made)
      if (object.type == "table")
        report.kept.push_back({object.name(), "the new side has served: users wrote to it"});
    return report;
  }
  auto report = drop_in_transaction(target, migration);
  if (!report) (void)target.exec("rollback");  // the failure itself is reported
  return with_context(std::move(report), "dropping what was copied");
}

}  // namespace banyan::replication
