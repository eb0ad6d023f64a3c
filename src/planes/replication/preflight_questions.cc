#include "planes/replication/preflight_questions.h"

namespace banyan::replication {
namespace {

using enum Asked;
using enum Severity;

constexpr Question kQuestions[] = {
    // ---- The server
    {kBoth, kMust, "wal_level", "The {side} writes a logical log",
     R"sql(select 'wal_level is ' || setting, 'alter system set wal_level = logical; -- and restart'
       from pg_settings where name = 'wal_level' and setting <> 'logical')sql"},
    {kBoth, kMust, "slots", "The {side} has free replication slots",
     R"sql(select 'fewer than 3 replication slots are free',
         'alter system set max_replication_slots = ' || (setting::int + 5) || '; -- and restart'
       from pg_settings where name = 'max_replication_slots' and setting::int -
         (select count(*) from pg_replication_slots where slot_name !~ '^banyan_') < 3)sql"},
    {kBoth, kMust, "senders", "The {side} has free WAL senders",
     R"sql(select 'fewer than 3 WAL senders are free', 'alter system set max_wal_senders = '
         || (setting::int + 5) || '; -- and restart'
       from pg_settings where name = 'max_wal_senders' and setting::int -
         (select count(*) from pg_stat_replication where application_name !~ '^banyan') < 3)sql"},
    {kBoth, kMust, "connections", "The {side} has connections to spare for us",
     R"sql(select used || ' of ' || most || ' connections are in use; we need up to {sessions}',
         'alter system set max_connections = ' || (most + 50) || '; -- and restart'
       from (select current_setting('max_connections')::int as most,
               current_setting('superuser_reserved_connections')::int as reserved,
               (select count(*) from pg_stat_activity where backend_type = 'client backend'
                and coalesce(application_name, '') !~ '^banyan') as used) c
       where most - reserved - used < {sessions})sql"},
    {kBoth, kShould, "locks", "One transaction on the {side} can lock every moved table",
     R"sql(select {table_count} || ' tables', 'alter system set max_locks_per_transaction = '
         || (setting::int * 4) || '; -- and restart'
       from pg_settings where name = 'max_locks_per_transaction'
         and {table_count} > setting::int * 20)sql"},
    {kBoth, kShould, "wal_keep", "The {side} keeps enough log for a slow reader",
     R"sql(select 'max_slot_wal_keep_size is ' || setting || ' MB',
         'alter system set max_slot_wal_keep_size = ''20GB''; select pg_reload_conf();'
       from pg_settings where name = 'max_slot_wal_keep_size'
         and setting::int between 0 and 4096)sql"},
    {kBoth, kInfo, "sender_timeout", "wal_sender_timeout of the {side} is not too short",
     R"sql(select 'wal_sender_timeout is ' || setting || ' ms',
         'alter system set wal_sender_timeout = ''60s''; select pg_reload_conf();'
       from pg_settings where name = 'wal_sender_timeout' and setting::int between 1 and 9999)sql"},
    {kSource, kInfo, "decoding_memory", "Decoding has memory for big transactions",
     R"sql(select 'logical_decoding_work_mem is ' || setting || ' kB: big transactions spill early',
         'alter system set logical_decoding_work_mem = ''64MB''; select pg_reload_conf();'
       from pg_settings where name = 'logical_decoding_work_mem' and setting::int < 65536)sql",
     130000},
    {kSource, kMust, "old_snapshot", "The source never ends a snapshot early",
     R"sql(select 'old_snapshot_threshold is ' || setting || ' minutes: a long copy fails',
         'alter system set old_snapshot_threshold = -1; -- and restart'
       from pg_settings where name = 'old_snapshot_threshold' and setting::int >= 0)sql",
     100000, 170000},
    {kSource, kInfo, "synchronous", "No standby must confirm our commits",
     R"sql(select 'synchronous_standby_names is ' || setting || ': the fence waits for a standby',
         'alter system reset synchronous_standby_names; select pg_reload_conf();'
       from pg_settings where name = 'synchronous_standby_names' and setting <> '')sql"},
    {kBoth, kMust, "lost_slots", "No slot of ours on the {side} was invalidated",
     R"sql(select 'slot ' || slot_name || ' is lost', 'select pg_drop_replication_slot(' ||
         quote_literal(slot_name) || ');'
       from pg_replication_slots where slot_name ~ '^banyan_' and wal_status = 'lost')sql",
     130000},
    {kBoth, kMust, "read_only", "The {side} accepts our writes",
     R"sql(select case when pg_is_in_recovery() then 'it is a standby'
                else 'default_transaction_read_only is on for our role or database' end,
         case when pg_is_in_recovery() then '' else
           'set default_transaction_read_only = off; alter role ' || quote_ident(current_user) ||
           ' in database ' || quote_ident(current_database()) ||
           ' set default_transaction_read_only = off;' end
       where pg_is_in_recovery() or current_setting('transaction_read_only')::bool)sql"},
    {kTarget, kShould, "subscriptions", "Nothing else is replicated into the target",
     R"sql(select 'the target has the subscription ' || subname, 'drop subscription ' ||
         quote_ident(subname) || ';' from pg_stat_subscription)sql"},
    {kTarget, kInfo, "disk_settings", "The target may collect WAL between checkpoints",
     R"sql(select 'max_wal_size is ' || setting || ' MB: the copy will checkpoint often',
         'alter system set max_wal_size = ''8GB''; select pg_reload_conf();'
       from pg_settings where name = 'max_wal_size' and setting::int < 2048)sql"},
    {kTarget, kShould, "autovacuum", "The target cleans and analyzes its tables",
     R"sql(select 'autovacuum is off: plans will be bad after the switch',
         'alter system set autovacuum = on; select pg_reload_conf();'
       from pg_settings where name = 'autovacuum' and setting = 'off')sql"},

    // ---- Our rights
    {kBoth, kMust, "replication", "Our role may read the {side}'s log",
     R"sql(select 'role ' || rolname || ' may not replicate', 'alter role ' || quote_ident(rolname)
         || ' replication;'
       from pg_roles where rolname = current_user and not rolreplication and not rolsuper)sql"},
    {kBoth, kMust, "replica_role", "We can write on the {side} without firing triggers",
     R"sql(select 'role ' || current_user || ' may not set session_replication_role: triggers and '
         || 'foreign keys would act twice', 'grant set on parameter session_replication_role to '
         || quote_ident(current_user) || ';'
       where {acting} and not (select rolsuper from pg_roles where rolname = current_user)
         and not {may_set})sql"},
    {kBoth, kMust, "create_schema", "Our role may create schema banyan on the {side}",
     R"sql(select 'no CREATE on database ' || current_database(), 'grant create on database ' ||
         quote_ident(current_database()) || ' to ' || quote_ident(current_user) || ';'
       where not has_database_privilege(current_database(), 'create'))sql"},
    {kSource, kMust, "owner", "Our role owns the moved tables",
     R"sql(select 'not owner of ' || c.oid::regclass,
         'grant ' || quote_ident(r.rolname) || ' to ' || quote_ident(current_user) || ';'
       from pg_class c join pg_roles r on r.oid = c.relowner
       where c.oid = any ({tables}) and not pg_has_role(c.relowner, 'usage'))sql"},
    {kSource, kMust, "row_security", "Row security does not hide rows from us",
     R"sql(select c.oid::regclass || ' forces row security', 'alter role ' ||
         quote_ident(current_user) || ' bypassrls;'
       from pg_class c join pg_roles r on r.rolname = current_user
       where c.oid = any ({tables}) and c.relrowsecurity and c.relforcerowsecurity
         and not r.rolbypassrls
         and not r.rolsuper)sql"},
    {kSource, kInfo, "sees_sessions", "We see who is connected, for the writer census",
     R"sql(select 'addresses of other roles'' sessions are hidden from ' || current_user,
         'grant pg_read_all_stats to ' || quote_ident(current_user) || ';'
       where not pg_has_role('pg_read_all_stats', 'usage'))sql"},

    // ---- What is open right now
    {kSource, kMust, "prepared", "No prepared transaction is open on the source",
     R"sql(select 'prepared transaction ' || gid || ' since ' || prepared, 'commit prepared ' ||
         quote_literal(gid) || '; -- or rollback prepared'
       from pg_prepared_xacts where database = current_database())sql"},
    {kTarget, kShould, "prepared", "No prepared transaction is open on the target",
     R"sql(select 'prepared transaction ' || gid || ' since ' || prepared, 'commit prepared ' ||
         quote_literal(gid) || '; -- or rollback prepared'
       from pg_prepared_xacts where database = current_database())sql"},
    {kSource, kShould, "long_transactions", "No transaction is open for long",
     R"sql(select 'pid ' || pid || ' in a transaction since ' || xact_start,
         'select pg_terminate_backend(' || pid || ');'
       from pg_stat_activity where datname = current_database() and xact_start < now() -
         coalesce(nullif(current_setting('banyan.long_transaction', true), ''), '60 s')::interval
         and backend_type = 'client backend' and application_name !~ '^banyan')sql"},

    // ---- The tables
    {kSource, kMust, "tables", "There is something to move",
     "select 'no table found', '' where {table_count} = 0"},
    {kSource, kMust, "deferrable_key", "Primary keys can identify rows",
     R"sql(select 'primary key of ' || conrelid::regclass || ' is deferrable', 'alter table ' ||
         conrelid::regclass || ' replica identity full;'
       from pg_constraint join pg_class c on c.oid = conrelid where contype = 'p'
         and condeferrable and c.relreplident = 'd' and conrelid = any ({tables}))sql"},
    {kSource, kInfo, "replica_identity", "Every table identifies its rows",
     R"sql(select c.oid::regclass || ' has no primary key: its rows are identified by all columns',
         'alter table ' || c.oid::regclass || ' replica identity full;'
       from pg_class c where c.oid = any ({tables}) and c.relkind = 'r'
         and c.relreplident in ('d', 'n') and not exists
           (select 1 from pg_index i where i.indrelid = c.oid and i.indisprimary))sql"},
    {kSource, kMust, "generated_identity", "Full replica identities have no generated columns",
     R"sql(select c.oid::regclass || ' has replica identity full and the generated column ' ||
         quote_ident(a.attname) || ': its updates would be refused', 'alter table ' ||
         c.oid::regclass || ' replica identity default; -- with a primary key'
       from pg_class c join pg_attribute a on a.attrelid = c.oid where c.oid = any ({tables})
         and c.relreplident = 'f' and a.attgenerated <> '' and not a.attisdropped)sql",
     180000},
    {kSource, kInfo, "unlogged", "Every moved table is logged",
     R"sql(select c.oid::regclass || ' is unlogged: its rows are carried in the pause',
         'alter table ' || c.oid::regclass || ' set logged;'
       from pg_class c where c.oid = any ({tables}) and c.relpersistence = 'u')sql"},
    {kSource, kInfo, "large_objects", "There are no large objects",
     R"sql(select count(*) || ' large objects: they are carried in the pause', ''
       from pg_largeobject_metadata having count(*) > 0)sql"},
    {kSource, kInfo, "foreign_tables", "There are no foreign tables",
     R"sql(select ftrelid::regclass || ' is foreign: only its definition is moved', ''
       from pg_foreign_table)sql"},
    {kSource, kInfo, "rules", "No rule rewrites writes",
     R"sql(select 'rule ' || quote_ident(r.rulename) || ' on ' || r.ev_class::regclass, ''
       from pg_rewrite r where r.ev_class = any ({tables}) and r.ev_type <> '1')sql"},
    {kSource, kShould, "always_triggers", "No trigger fires for replicated changes",
     R"sql(select 'trigger ' || quote_ident(t.tgname) || ' on ' || t.tgrelid::regclass ||
         ' fires always: it would act twice', 'alter table ' || t.tgrelid::regclass ||
         ' enable trigger ' || quote_ident(t.tgname) || ';'
       from pg_trigger t where t.tgrelid = any ({tables}) and t.tgenabled in ('A', 'R')
         and not t.tgisinternal and t.tgname !~ '^banyan_fence')sql"},
    {kSource, kInfo, "event_triggers", "No event trigger interferes",
     R"sql(select 'event trigger ' || quote_ident(evtname), '' from pg_event_trigger
       where evtenabled <> 'D' and evtname !~ '^banyan_')sql"},
    {kSource, kShould, "invalid_indexes", "Every index is valid",
     R"sql(select 'index ' || i.indexrelid::regclass || ' is invalid', 'reindex index ' ||
         i.indexrelid::regclass || ';'
       from pg_index i where i.indrelid = any ({tables}) and not i.indisvalid)sql"},
    {kSource, kInfo, "unvalidated", "Every constraint is validated",
     R"sql(select 'constraint ' || quote_ident(conname) || ' on ' || conrelid::regclass,
         'alter table ' || conrelid::regclass || ' validate constraint ' || quote_ident(conname)
         || ';' from pg_constraint where not convalidated and conrelid = any ({tables}))sql"},
    {kSource, kMust, "crossing_keys", "No foreign key crosses the border of what moves",
     R"sql(select 'foreign key ' || quote_ident(conname) || ' from ' || conrelid::regclass || ' to '
         || confrelid::regclass, 'alter table ' || conrelid::regclass || ' drop constraint ' ||
         quote_ident(conname) || '; -- or move both tables'
       from pg_constraint where contype = 'f'
         and (conrelid = any ({tables})) <> (confrelid = any ({tables})))sql"},
    {kSource, kShould, "sequences_end", "No sequence is near its end",
     R"sql(select schemaname || '.' || sequencename || ' has used ' || last_value || ' of ' ||
         max_value, 'alter sequence ' || quote_ident(schemaname) || '.' ||
         quote_ident(sequencename) || ' as bigint no maxvalue;'
       from pg_sequences where increment_by > 0 and not cycle
         and last_value > max_value::numeric * 0.9)sql"},
    {kSource, kShould, "small_keys", "No integer column is near its end",
     R"sql(select d.refobjid::regclass || '.' || quote_ident(a.attname) || ' is a ' ||
         format_type(a.atttypid, null) || ' and its sequence has given ' || s.last_value,
         'alter table ' || d.refobjid::regclass || ' alter column ' || quote_ident(a.attname) ||
         ' type bigint; -- rewrites the table: do it on the target before the switch'
       from pg_sequences s join pg_class c on c.relname = s.sequencename join pg_namespace n
         on n.oid = c.relnamespace and n.nspname = s.schemaname
       join pg_depend d on d.objid = c.oid and d.classid = 'pg_class'::regclass
         and d.deptype in ('a', 'i')
       join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
       where d.refobjid = any ({tables}) and s.last_value > 0.8 *
         case a.atttypid when 'int2'::regtype then 32767 when 'int4'::regtype then 2147483647
         else 9223372036854775807 end)sql"},
    {kSource, kShould, "wraparound", "Transaction ids are far from their end",
     R"sql(select 'age of the oldest transaction id is ' || age(datfrozenxid), 'vacuum (freeze);'
       from pg_database where datname = current_database()
         and age(datfrozenxid) > 1500000000)sql"},
    {kSource, kInfo, "freeze_due", "No big table is about to be frozen",
     R"sql(select c.oid::regclass || ' is due for an anti-wraparound vacuum: in the way of a fence',
          'vacuum (freeze) ' || c.oid::regclass || ';'
       from pg_class c where c.oid = any ({tables}) and c.relkind = 'r' and age(c.relfrozenxid) >
         0.9 * current_setting('autovacuum_freeze_max_age')::float8)sql"},
};

}  // namespace

std::span<const Question> preflight_questions() {
  return kQuestions;
}

}  // namespace banyan::replication
