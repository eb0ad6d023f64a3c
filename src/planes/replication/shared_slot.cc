#include "planes/replication/shared_slot.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/fail_point.h"
#include "planes/replication/catalog.h"
#include "planes/replication/source_snapshot.h"

namespace banyan::replication {
namespace {

// The names of what a publication holds.
constexpr std::string_view kPublished =
    "select n.nspname || '.' || c.relname as table_name from pg_catalog.pg_publication_rel r "
    "join pg_catalog.pg_publication p on p.oid = r.prpubid "
    "join pg_catalog.pg_class c on c.oid = r.prrelid "
    "join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
    "where p.pubname = $1";

// Snapshots can be handed on: the temporary slot that gave it need not stay.
Result<SlotStart> from_temporary_slot(const std::string& url,
                                      pg::ReplicationConnection& connection) {
  TRY(const auto slot,
      with_context(connection.create_slot(new_slot_name("banyan_join_"), pg::Snapshot::kExport,
                                          pg::SlotLife::kTemporary),
                   "creating a temporary slot"));
  TRY(auto session, pg::Connection::open(url, {.application_name = "banyan_snapshot"}));
  TRY_VOID(begin_under(session, slot.snapshot));
  TRY(const auto exported, session.query("select pg_catalog.pg_export_snapshot()"));
  return SlotStart{.slot = {},
                   .point = slot.consistent_point,
                   .snapshot = exported.str(0, 0),
                   .session = std::move(session)};
}

}  // namespace

Result<void> SharedSlot::publish(pg::Connection& source, const Direction& direction) const {
  TRY(const auto wanted, publishable(source, direction));
  if (wanted.is_through_roots) {
    return std::unexpected(
        Error(Code::kUnsupported, "partitions that are drawn anew cannot share a slot")
            .with_remedy("1. Leave out share: the split has a slot of its own. 2. Leave the "
                         "partitioned tables out of map."));
  }
  TRY_VOID(refuse_parts(source, wanted.tables));
  TRY_VOID(list(source, wanted.tables));
  TRY_VOID(fail_point("share.listed"));
  TRY_VOID(add_missing(source));
  return drop_unlisted(source);
}

Result<void> SharedSlot::list(pg::Connection& source,
                              const std::vector<PublishedTable>& tables) const {
  std::string sql = fmt::format("delete from banyan.shared_table where migration = {};",
                                pg::quote_literal(migration_));
  for (const auto& table : tables) {
    sql += fmt::format("insert into banyan.shared_table values ({}, {}, {}, {});",
                       pg::quote_literal(share_), pg::quote_literal(migration_),
                       pg::quote_literal(table.name), pg::quote_literal(table.entry));
  }
  return source.exec(sql);
}

// Rows that one of them wants and another does not.
Result<void> SharedSlot::refuse_parts(pg::Connection& source,
                                      const std::vector<PublishedTable>& tables) const {
  TRY(const auto rows, source.query("select table_name, entry, migration from banyan.shared_table "
                                    "where share = $1 and migration <> $2",
                                    {share_, migration_}));
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const auto same = std::ranges::find(tables, rows.text(row, 0), &PublishedTable::name);
    if (same == tables.end() || same->entry == rows.text(row, 1)) continue;
    return std::unexpected(
        Error(Code::kConflict, fmt::format("{} shares its slot and has other rows of {} published",
                                           rows.text(row, 2), same->name))
            .with_remedy("1. Leave out share: the split has a slot of its own. 2. Give both the "
                         "same condition in map."));
  }
  return {};
}

Result<void> SharedSlot::add_missing(pg::Connection& source) const {
  const auto name = pg::quote_ident(publication());
  TRY(const auto known,
      source.query("select 1 from pg_catalog.pg_publication where pubname = $1", {publication()}));
  if (known.empty()) TRY_VOID(source.exec("create publication " + name));
  TRY(auto missing, published_own_tables(source));
  TRY(const auto wanted, source.query("select distinct table_name, entry from banyan.shared_table "
                                      "where share = $1",
                                      {share_}));
  for (std::size_t row = 0; row < wanted.size(); ++row) {
    missing.push_back({wanted.str(row, 0), wanted.str(row, 1)});
  }
  TRY(const auto there, source.query(std::string(kPublished), {publication()}));
  for (std::size_t row = 0; row < there.size(); ++row) {
    std::erase_if(missing, [&](const auto& table) { return table.name == there.text(row, 0); });
  }
  if (missing.empty()) return {};
  return with_context(
      source.exec(fmt::format("alter publication {} add table {}", name, entries_of(missing))),
      "publishing the moved tables");
}

Result<void> SharedSlot::drop_unlisted(pg::Connection& source) const {
  TRY(const auto rows,
      source.query(fmt::format("select pg_catalog.quote_ident(n.nspname) || '.' || "
                               "pg_catalog.quote_ident(c.relname), c.relkind = 'p' from "
                               "pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = "
                               "c.relnamespace where n.nspname <> 'banyan' and n.nspname || '.' "
                               "|| c.relname in (select table_name from ({}) p except select "
                               "table_name from banyan.shared_table where share = $2)",
                               kPublished),
                   {publication(), share_}));
  std::string list;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    list += fmt::format("{}{}{}", row == 0 ? "" : ", ", rows.boolean(row, 1) ? "" : "only ",
                        rows.text(row, 0));
  }
  if (list.empty()) return {};
  return source.exec(
      fmt::format("alter publication {} drop table {}", pg::quote_ident(publication()), list));
}

Result<std::optional<LogIdentity>> SharedSlot::slot(pg::Connection& source) const {
  TRY(const auto rows, source.query("select slot, system_id, timeline from banyan.shared_slot "
                                    "where share = $1",
                                    {share_}));
  if (rows.empty()) return std::optional<LogIdentity>();
  return LogIdentity{
      .slot = rows.str(0, 0), .system_id = rows.str(0, 1), .timeline = rows.str(0, 2)};
}

Result<bool> SharedSlot::is_sound(pg::ReplicationConnection& connection,
                                  const LogIdentity& known) const {
  TRY(const auto server, connection.identify());
  if (server.system_id != known.system_id || server.timeline != known.timeline) return false;
  TRY(const auto rows,
      connection.query("select 1 from pg_catalog.pg_replication_slots where plugin = 'pgoutput' "
                       "and database = pg_catalog.current_database() and restart_lsn is not null "
                       "and slot_name = " +
                       pg::quote_literal(known.slot)));
  return rows.size() == 1;
}

Result<SlotStart> SharedSlot::begin(const std::string& source_url,
                                    const std::string& prefix) const {
  TRY(auto source, pg::Connection::open(source_url, {.application_name = "banyan_engine"}));
  TRY(const auto known, slot(source));
  if (known) {
    TRY(auto connection, pg::ReplicationConnection::open(source_url, "banyan_slot"));
    TRY(const bool is_shared, is_sound(connection, *known));
    if (is_shared) {
      TRY(auto start, from_temporary_slot(source_url, connection));
      start.slot = *known;
      return start;
    }
  }
  TRY(auto start, make_slot(source_url, stem(prefix), pg::Snapshot::kExport));
  TRY_VOID(fail_point("share.slot_made"));
  TRY_VOID(
      source.query("insert into banyan.shared_slot values ($1, $2, $3, $4) on conflict (share) "
                   "do update set slot = excluded.slot, system_id = excluded.system_id, "
                   "timeline = excluded.timeline",
                   {share_, start.slot.slot, start.slot.system_id, start.slot.timeline}));
  return start;
}

Result<std::vector<std::string>> SharedSlot::members(pg::Connection& source) const {
  TRY(const auto rows, source.query("select distinct migration from banyan.shared_table "
                                    "where share = $1 order by 1",
                                    {share_}));
  std::vector<std::string> members;
  for (std::size_t row = 0; row < rows.size(); ++row) members.push_back(rows.str(row, 0));
  return members;
}

Result<bool> SharedSlot::unlist(pg::Connection& source) const {
  TRY_VOID(source.query("delete from banyan.shared_table where migration = $1", {migration_}));
  TRY_VOID(fail_point("share.unlisted"));
  TRY_VOID(drop_unlisted(source));
  TRY(const auto left, members(source));
  return !left.empty();
}

Result<void> SharedSlot::remove(const std::string& source_url, const std::string& prefix) const {
  TRY(auto connection, pg::ReplicationConnection::open(source_url, "banyan_slot"));
  TRY_VOID(drop_slots(connection, stem(prefix)));
  TRY_VOID(fail_point("share.slot_dropped"));
  TRY(auto source, pg::Connection::open(source_url, {.application_name = "banyan_engine"}));
  TRY_VOID(drop_publication(source, publication()));
  TRY_VOID(source.query("delete from banyan.shared_slot where share = $1", {share_}));
  return {};
}

}  // namespace banyan::replication
