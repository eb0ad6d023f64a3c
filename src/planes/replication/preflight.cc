#include "planes/replication/preflight.h"

#include <fmt/format.h>

#include "planes/replication/carry_checks.h"
#include "planes/replication/pg_client.h"

namespace banyan::replication {
namespace {

// A question to one database. Its rows are the problems found: (detail, fix_sql); none means fine.
// {tables} stands for the oids of the moved tables, {name} for the migration's quoted name.
struct Question {
  SideName side;
  std::string_view id;
  Severity severity;
  std::string_view title;
  std::string_view sql;
};

constexpr auto kOld = SideName::kOld;
constexpr auto kNew = SideName::kNew;
constexpr auto kMust = Severity::kMust;
constexpr auto kShould = Severity::kShould;
constexpr auto kInfo = Severity::kInfo;

constexpr std::string_view kWalLevel =
    "select 'wal_level is ' || setting, 'alter system set wal_level = logical; -- and restart' "
    "from pg_settings where name = 'wal_level' and setting <> 'logical'";
constexpr std::string_view kMayReplicate =
    "select 'role ' || rolname || ' may not replicate', 'alter role ' || quote_ident(rolname) || "
    "' replication;' from pg_roles where rolname = current_user and not rolreplication and not "
    "rolsuper";
constexpr std::string_view kSlots =
    "select 'fewer than 3 replication slots are free', 'alter system set max_replication_slots = ' "
    "|| "
    "(setting::int + 5) || '; -- and restart' from pg_settings where name = "
    "'max_replication_slots' "
    "and setting::int - (select count(*) from pg_replication_slots where slot_name !~ '^banyan_') "
    "< 3";
constexpr std::string_view kSenders =
    "select 'fewer than 3 WAL senders are free', 'alter system set max_wal_senders = ' || "
    "(setting::int + 5) || '; -- and restart' from pg_settings where name = 'max_wal_senders' and "
    "setting::int - (select count(*) from pg_stat_replication where application_name !~ '^banyan') "
    "< 3";
constexpr std::string_view kTwoPhase =
    "select 'prepared transaction ' || gid || ' since ' || prepared, 'commit prepared ' || "
    "quote_literal(gid) || '; -- or rollback prepared' from pg_prepared_xacts "
    "where database = current_database()";
constexpr std::string_view kReplicaRole =
    "select 'role ' || current_user || ' may not set session_replication_role: triggers and "
    "foreign "
    "keys would act twice', 'grant set on parameter session_replication_role to ' || "
    "quote_ident(current_user) || ';' where not (select rolsuper from pg_roles "
    "where rolname = current_user) and not {may_set}";

constexpr Question kQuestions[] = {
    {kOld, "source.wal_level", kMust, "The source writes a logical log", kWalLevel},
    {kNew, "target.wal_level", kMust, "The target writes a logical log, for the way back",
     kWalLevel},
    {kOld, "source.replication", kMust, "Our role may read the source's log", kMayReplicate},
    {kNew, "target.replication", kMust, "Our role may read the target's log, for the way back",
     kMayReplicate},
    {kOld, "source.slots", kMust, "The source has free replication slots", kSlots},
    {kNew, "target.slots", kMust, "The target has free replication slots", kSlots},
    {kOld, "source.senders", kMust, "The source has free WAL senders", kSenders},
    {kNew, "target.senders", kMust, "The target has free WAL senders", kSenders},
    {kOld, "source.replica_role", kMust, "The way back can write without firing triggers",
     kReplicaRole},
    {kNew, "target.replica_role", kMust, "Apply can write without firing triggers", kReplicaRole},
    {kOld, "source.prepared", kMust, "No prepared transaction is open on the source", kTwoPhase},
    {kNew, "target.prepared", kShould, "No prepared transaction is open on the target", kTwoPhase},
    {kOld, "source.create_schema", kMust, "Our role may create schema banyan on the source",
     "select 'no CREATE on database ' || current_database(), 'grant create on database ' || "
     "quote_ident(current_database()) || ' to ' || quote_ident(current_user) || ';' where not "
     "has_database_privilege(current_database(), 'create')"},
    {kNew, "target.create_schema", kMust, "Our role may create objects on the target",
     "select 'no CREATE on database ' || current_database(), 'grant create on database ' || "
     "quote_ident(current_database()) || ' to ' || quote_ident(current_user) || ';' where not "
     "has_database_privilege(current_database(), 'create')"},
    {kOld, "source.owner", kMust, "Our role owns the moved tables",
     "select 'not owner of ' || c.oid::regclass, 'grant ' || quote_ident(r.rolname) || ' to ' || "
     "quote_ident(current_user) || ';' from pg_class c join pg_roles r on r.oid = c.relowner "
     "where c.oid = any ({tables}) and not pg_has_role(c.relowner, 'usage')"},
    {kOld, "source.tables", kMust, "There is something to move",
     "select 'no table found', '' where cardinality({tables}) = 0"},
    {kOld, "source.deferrable_key", kMust, "Primary keys can identify rows",
     "select 'primary key of ' || conrelid::regclass || ' is deferrable', 'alter table ' || "
     "conrelid::regclass || ' replica identity full;' from pg_constraint join pg_class c on c.oid "
     "= "
     "conrelid where contype = 'p' and condeferrable and c.relreplident = 'd' "
     "and conrelid = any ({tables})"},
    {kOld, "source.replica_identity", kInfo, "Every table identifies its rows",
     "select c.oid::regclass || ' has no primary key: its rows are identified by all columns', "
     "'alter table ' || c.oid::regclass || ' replica identity full;' from pg_class c "
     "where c.oid = any ({tables}) and c.relkind = 'r' and c.relreplident in ('d', 'n') and not "
     "exists "
     "(select 1 from pg_index i where i.indrelid = c.oid and i.indisprimary)"},
    {kOld, "source.unlogged", kInfo, "Every moved table is logged",
     "select c.oid::regclass || ' is unlogged: its rows are carried in the pause', 'alter table ' "
     "|| "
     "c.oid::regclass || ' set logged;' from pg_class c where c.oid = any ({tables}) "
     "and c.relpersistence = 'u'"},
    {kOld, "source.large_objects", kInfo, "There are no large objects",
     "select count(*) || ' large objects: they are carried in the pause', '' from "
     "pg_largeobject_metadata "
     "having count(*) > 0"},
    {kOld, "source.foreign_tables", kInfo, "There are no foreign tables",
     "select ftrelid::regclass || ' is foreign: only its definition is moved', '' "
     "from pg_foreign_table"},
    {kOld, "source.row_security", kInfo, "Row security does not hide rows from us",
     "select c.oid::regclass || ' forces row security', 'alter role ' || quote_ident(current_user) "
     "|| "
     "' bypassrls;' from pg_class c join pg_roles r on r.rolname = current_user where c.oid = any "
     "({tables}) and c.relforcerowsecurity and not r.rolbypassrls and not r.rolsuper"},
    {kOld, "source.rules", kInfo, "No rule rewrites writes",
     "select 'rule ' || quote_ident(r.rulename) || ' on ' || r.ev_class::regclass, '' from "
     "pg_rewrite r "
     "where r.ev_class = any ({tables}) and r.ev_type <> '1'"},
    {kOld, "source.always_triggers", kShould, "No trigger fires for replicated changes",
     "select 'trigger ' || quote_ident(t.tgname) || ' on ' || t.tgrelid::regclass || "
     "' fires always: it would act twice', 'alter table ' || t.tgrelid::regclass || ' enable "
     "trigger ' "
     "|| quote_ident(t.tgname) || ';' from pg_trigger t where t.tgrelid = any ({tables}) "
     "and t.tgenabled in ('A', 'R') and not t.tgisinternal and t.tgname <> 'banyan_fence'"},
    {kOld, "source.event_triggers", kInfo, "No event trigger interferes",
     "select 'event trigger ' || quote_ident(evtname), '' from pg_event_trigger "
     "where evtenabled <> 'D'"},
    {kOld, "source.invalid_indexes", kShould, "Every index is valid",
     "select 'index ' || i.indexrelid::regclass || ' is invalid', 'reindex index ' || "
     "i.indexrelid::regclass || ';' from pg_index i where i.indrelid = any ({tables}) "
     "and not i.indisvalid"},
    {kOld, "source.unvalidated", kInfo, "Every constraint is validated",
     "select 'constraint ' || quote_ident(conname) || ' on ' || conrelid::regclass, 'alter table ' "
     "|| "
     "conrelid::regclass || ' validate constraint ' || quote_ident(conname) || ';' from "
     "pg_constraint "
     "where not convalidated and conrelid = any ({tables})"},
    {kOld, "source.crossing_keys", kMust, "No foreign key crosses the border of what moves",
     "select 'foreign key ' || quote_ident(conname) || ' from ' || conrelid::regclass || ' to ' || "
     "confrelid::regclass, 'alter table ' || conrelid::regclass || ' drop constraint ' || "
     "quote_ident(conname) || '; -- or move both tables' from pg_constraint where contype = 'f' "
     "and "
     "(conrelid = any ({tables})) <> (confrelid = any ({tables}))"},
    {kOld, "source.long_transactions", kShould, "No transaction is open for long",
     "select 'pid ' || pid || ' in a transaction since ' || xact_start, 'select "
     "pg_terminate_backend(' "
     "|| pid || ');' from pg_stat_activity where datname = current_database() and xact_start < "
     "now() "
     "- interval '60 s' and backend_type = 'client backend' and application_name !~ '^banyan'"},
    {kOld, "source.sequences_end", kShould, "No sequence is near its end",
     "select schemaname || '.' || sequencename || ' has used ' || last_value || ' of ' || "
     "max_value, '' "
     "from pg_sequences where increment_by > 0 and not cycle and last_value > max_value::numeric * "
     "0.9"},
    {kOld, "source.wraparound", kShould, "Transaction ids are far from their end",
     "select 'age of the oldest transaction id is ' || age(datfrozenxid), 'vacuum (freeze);' "
     "from pg_database where datname = current_database() and age(datfrozenxid) > 1500000000"},
    {kOld, "source.wal_keep", kShould, "The source keeps enough log for a slow target",
     "select 'max_slot_wal_keep_size is ' || setting || ' MB', 'alter system set "
     "max_slot_wal_keep_size "
     "= ''20GB''; select pg_reload_conf();' from pg_settings where name = 'max_slot_wal_keep_size' "
     "and "
     "setting::int between 0 and 4096"},
    {kOld, "source.locks", kShould, "One transaction can lock every moved table",
     "select cardinality({tables}) || ' tables', 'alter system set max_locks_per_transaction = ' "
     "|| "
     "(setting::int * 4) || '; -- and restart' from pg_settings where name = "
     "'max_locks_per_transaction' "
     "and cardinality({tables}) > setting::int * 20"},
    {kOld, "source.sender_timeout", kInfo, "wal_sender_timeout is not too short",
     "select 'wal_sender_timeout is ' || setting || ' ms', '' from pg_settings "
     "where name = 'wal_sender_timeout' and setting::int between 1 and 9999"},
    {kOld, "source.lost_slots", kMust, "No slot of ours was invalidated",
     "select 'slot ' || slot_name || ' is lost', 'select pg_drop_replication_slot(' || "
     "quote_literal(slot_name) || ');' from pg_replication_slots where slot_name ~ '^banyan_' "
     "and wal_status = 'lost'"},
    {kNew, "target.subscriptions", kShould, "Nothing else is replicated into the target",
     "select 'the target has a subscription', '' from pg_stat_subscription limit 1"},
    {kNew, "target.read_only", kMust, "The target accepts writes",
     "select 'the target is a standby', '' where pg_is_in_recovery()"},
    {kNew, "target.disk_settings", kInfo, "The target may collect WAL between checkpoints",
     "select 'max_wal_size is ' || setting || ' MB: the copy will checkpoint often', 'alter system "
     "set "
     "max_wal_size = ''8GB''; select pg_reload_conf();' from pg_settings where name = "
     "'max_wal_size' "
     "and setting::int < 2048"},
};

std::string replaced(std::string text, std::string_view mark, std::string_view value) {
  for (auto at = text.find(mark); at != std::string::npos;
       at = text.find(mark, at + value.size())) {
    text.replace(at, mark.size(), value);
  }
  return text;
}

// Collects the rows of an answer into one finding.
Finding finding_of(const Question& question, const Result<pg::Rows>& answer) {
  Finding finding{
      std::string(question.id), question.severity, std::string(question.title), "", "", true};
  if (!answer) {
    finding.ok = false;
    finding.detail = "could not be asked: " + answer.error().message();
    return finding;
  }
  for (std::size_t row = 0; row < answer->size(); row++) {
    finding.ok = false;
    finding.detail += (row > 0 ? "; " : "") + answer->str(row, 0);
    if (!answer->text(row, 1).empty()) finding.fix_sql += answer->str(row, 1) + "\n";
  }
  return finding;
}

Finding ask(pg::Connection& db, const Question& question, const std::string& oids) {
  // Before 15 there is no right to grant: only superusers may.
  const auto may_set = db.server_version() >= 150000
                           ? "has_parameter_privilege('session_replication_role', 'set')"
                           : "false";
  auto sql = replaced(std::string(question.sql), "{tables}", oids);
  return finding_of(question, db.query(replaced(std::move(sql), "{may_set}", may_set)));
}

Finding compared(std::string id, Severity severity, std::string title, std::string trouble,
                 std::string fix = "") {
  const bool ok = trouble.empty();
  return {
      std::move(id), severity, std::move(title), std::move(trouble), ok ? "" : std::move(fix), ok};
}

std::string value_of(pg::Connection& db, const std::string& sql) {
  auto rows = db.query(sql);
  return rows && !rows->empty() ? rows->str(0, 0) : "";
}

Finding check_encoding(pg::Connection& source, pg::Connection& target) {
  const auto here = value_of(source, "show server_encoding");
  const auto there = value_of(target, "show server_encoding");
  return compared("target.encoding", kMust, "Both databases have the same encoding",
                  here == there ? "" : here + " on the source, " + there + " on the target");
}

Finding check_version(pg::Connection& source, pg::Connection& target) {
  const int here = source.server_version() / 10000;
  const int there = target.server_version() / 10000;
  return compared(
      "target.version", kShould, "The target is not older than the source",
      there >= here ? "" : fmt::format("{} on the source, {} on the target", here, there));
}

Finding check_pg_dump(pg::Connection& source) {
  const auto tool = find_pg_dump(source.server_version() / 10000);
  return compared("local.pg_dump", kMust, "pg_dump can read the source",
                  tool ? "" : tool.error().message() + ". " + tool.error().remedy());
}

Finding check_same_database(pg::Connection& source, pg::Connection& target) {
  const std::string sql =
      "select system_identifier || '/' || current_database() from pg_control_system()";
  const auto here = value_of(source, sql);
  const bool same = !here.empty() && here == value_of(target, sql);
  return compared("target.is_other", kMust, "Source and target are two databases",
                  same ? "both addresses lead to the same database" : "");
}

Finding check_extensions(pg::Connection& source, pg::Connection& target) {
  std::string missing;
  auto used = source.query("select extname from pg_extension order by 1");
  for (std::size_t row = 0; used && row < used->size(); row++) {
    auto there = target.query("select 1 from pg_available_extensions where name = $1",
                              {used->param(row, 0)});
    if (there && there->empty()) missing += (missing.empty() ? "" : ", ") + used->str(row, 0);
  }
  return compared("target.extensions", kMust, "The target offers the source's extensions",
                  missing.empty() ? "" : "not available: " + missing);
}

Finding check_empty(pg::Connection& target, const std::vector<FencedTable>& tables,
                    const std::string& migration) {
  const auto known = value_of(target, "select to_regclass('banyan.migration')");
  const bool resumed =
      !known.empty() && !value_of(target, "select 1 from banyan.migration where name = " +
                                              pg::quote_literal(migration))
                             .empty();
  std::string existing;
  for (const auto& table : tables) {
    if (resumed) break;
    const auto found =
        value_of(target, "select to_regclass(" + pg::quote_literal(table.qualified) + ")");
    if (!found.empty()) existing += (existing.empty() ? "" : ", ") + table.qualified;
  }
  return compared("target.empty", kMust, "The target has none of the moved tables",
                  existing.empty() ? "" : "exist already: " + existing,
                  "drop table " + existing + ";\n");
}

std::string oid_array(const std::vector<FencedTable>& tables) {
  std::string list;
  for (const auto& table : tables) list += fmt::format("{}{}", list.empty() ? "" : ",", table.oid);
  return "'{" + list + "}'::oid[]";
}

}  // namespace

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::kMust:
      return "must";
    case Severity::kShould:
      return "should";
    case Severity::kInfo:
      return "info";
  }
  return "";
}

Result<std::vector<Finding>> preflight(const Sides& sides, const TableNames& tables,
                                       const std::string& migration) {
  TRY(auto source, with_context(pg::Connection::open(sides.old_url), "connecting to the source"));
  TRY(auto target, with_context(pg::Connection::open(sides.new_url), "connecting to the target"));
  TRY(const auto moved, with_context(fenced_tables(source, tables), "finding the tables"));
  std::vector<Finding> findings;
  for (const auto& question : kQuestions) {
    findings.push_back(
        ask(question.side == SideName::kOld ? source : target, question, oid_array(moved)));
  }
  findings.push_back(check_encoding(source, target));
  findings.push_back(check_version(source, target));
  findings.push_back(check_pg_dump(source));
  findings.push_back(check_same_database(source, target));
  findings.push_back(check_extensions(source, target));
  findings.push_back(check_empty(target, moved, migration));
  for (auto& finding : carry_checks(source, target, tables)) findings.push_back(std::move(finding));
  return findings;
}

}  // namespace banyan::replication
