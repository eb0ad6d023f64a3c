#include "planes/replication/carried_tables.h"

#include <fmt/format.h>

#include <algorithm>

#include "planes/replication/catalog.h"

namespace banyan::replication {
namespace {

Result<pg::Connection> connect(const std::string& url) {
  return pg::Connection::open(url, {.application_name = "banyan_engine"});
}

}  // namespace

Result<CarriedTables> CarriedTables::create(std::string source_url, std::string migration,
                                            TableNames tables) {
  CarriedTables carried(std::move(source_url), std::move(migration), std::move(tables));
  TRY(auto source, connect(carried.source_url_));
  TRY_VOID(carried.look(source));
  return carried;
}

Result<void> CarriedTables::look(pg::Connection& source) {
  TRY(const auto found, fenced_tables(source, tables_));
  for (const auto& table : found) ids_.insert(table.oid);
  may_grow_ = std::ranges::any_of(found, &FencedTable::is_partitioned);
  TRY(auto names, published_names(source, tables_));
  names_.merge(std::move(names));
  return {};
}

bool CarriedTables::knows(const Relation& relation) const {
  return ids_.contains(relation.id) || names_.contains(relation.display());
}

Result<bool> CarriedTables::has(const Relation& relation) {
  if (knows(relation)) return true;
  if (!may_grow_ || others_.contains({relation.id, relation.display()})) return false;
  TRY(auto source, connect(source_url_));
  TRY_VOID(look(source));
  if (knows(relation)) return true;
  TRY(const bool is_of_others, belongs_to_others(source, relation));
  if (is_of_others) {
    others_.emplace(relation.id, relation.display());
    return false;
  }
  return std::unexpected(
      Error(Code::kConflict,
            fmt::format("table {} of the shared stream is gone from the source: it may have been a "
                        "partition of {}",
                        relation.display(), migration_))
          .with_remedy(fmt::format("1. Copy only what differs, and go on from there: banyan "
                                   "migrate repair {}\n2. Give this split a slot of its own: "
                                   "cancel it, and create it without share.",
                                   migration_)));
}

Result<bool> CarriedTables::belongs_to_others(pg::Connection& source,
                                              const Relation& relation) const {
  TRY(const auto rows,
      source.query("select exists (select 1 from pg_catalog.pg_class where oid = $1::oid) or "
                   "exists (select 1 from banyan.shared_table where table_name = $2 and "
                   "migration <> $3)",
                   {std::to_string(relation.id), relation.display(), migration_}));
  return rows.boolean(0, 0);
}

}  // namespace banyan::replication
