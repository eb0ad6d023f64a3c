#pragma once
// SchemaCopy: brings the source's schema to the target with pg_dump, in the order a fast and
// correct copy needs: pre-data (tables, types, functions) before it; then keys, other indexes,
// foreign keys (NOT VALID, validated while following) and triggers after it.
//
// The dump is taken under the slot's snapshot and kept in `directory`. Each item is restored in a
// transaction of its own together with its mark in banyan.schema_item, so every step can be killed
// and run again. bring_pre_data() alone begins anew: its snapshot is another one, so it takes back
// what it made before, and dumps again. Publications, subscriptions and our own schema and triggers
// are left out; owners and grants too when the target lacks one of the roles (or we may not set
// them); tablespaces, and security labels, when it lacks one of them.

#include <functional>
#include <string>
#include <vector>

#include "planes/replication/schema_dump.h"
#include "planes/replication/schema_mapping.h"

namespace banyan::replication {

// Whether applying changes needs it: primary keys and replica identity indexes.
bool is_key(const SchemaItem& item);

// Tablespaces of the source's objects that the target lacks, or where our role may not create.
Result<std::vector<std::string>> missing_tablespaces(pg::Connection& source,
                                                     pg::Connection& target);

struct SchemaCopyOptions {
  // Whether partitions, parents and children come along with the listed tables.
  enum class Family : std::uint8_t { kWhole, kExact };
  std::string migration;
  std::string source_url;
  std::string target_url;
  TableNames tables;
  std::string directory;
  int jobs = 2;
  std::vector<std::string> left_out;  // objects, as "FK CONSTRAINT public.orders orders_buyer_fkey"
  Family family = Family::kWhole;
  Mapping mapping = {};
  std::function<bool()> is_cancelled = [] { return false; };
  // In the transaction that makes the tables: nobody ever meets one without its fence.
  std::function<Result<void>(pg::Connection& target)> fence = [](auto&) { return Result<void>(); };
};

class SchemaCopy {
 public:
  explicit SchemaCopy(SchemaCopyOptions options) : options_(std::move(options)) {}

  // Roles, then types, tables and functions. `snapshot` may be empty; otherwise its exporting
  // session must stay until this returns. kConflict when what an earlier call made has got
  // dependents, or rows, of others.
  Result<void> bring_pre_data(const std::string& snapshot);
  Result<void> build_keys();
  Result<void> build_indexes();
  // Foreign keys, triggers, rules, policies, the database's settings; then ANALYZE.
  Result<void> finish();

 private:
  enum class Owners : std::uint8_t { kKeep, kLeaveOut };
  Result<void> take_back_earlier() const;
  Result<void> dump(const std::string& snapshot, Owners owners);
  Result<void> restore_pre_data();
  Result<void> carry_database() const;
  Result<void> restore_types();
  Result<void> restore_tables();
  Result<bool> is_attached_late(pg::Connection& target, const SchemaItem& item) const;
  TableNames listed_tables(const std::vector<FencedTable>& moved) const;
  Result<TableNames> excluded_tables(const std::vector<FencedTable>& moved,
                                     pg::Connection& target) const;
  Result<std::vector<SchemaItem>> load(const std::string& section) const;
  Result<std::vector<SchemaItem>> post_data();
  Result<std::vector<TableMapping>> tables_made() const;
  bool may_be_left_out(const SchemaItem& item, const Error& error) const;
  Result<pg::Connection> open_target() const;
  Result<void> restore(const std::vector<SchemaItem>& items) const;
  using Work = std::function<Result<void>(pg::Connection& target, std::size_t index)>;
  Result<void> in_parallel(std::size_t count, const Work& work) const;
  Result<void> analyze() const;
  Result<void> restore_in_parallel(const std::vector<SchemaItem>& items) const;
  SchemaItem noted(SchemaItem item) const;
  Result<void> restore_item(pg::Connection& target, const SchemaItem& item) const;
  Result<void> restore_in_transaction(pg::Connection& target, const SchemaItem& item) const;
  Result<void> restore_foreign_keys(const std::vector<SchemaItem>& items) const;

  SchemaCopyOptions options_;
  bool keeps_owners_ = false;
  std::vector<TableMapping> shaped_;       // mapped tables that we made; known after the tables
  std::vector<SchemaItem> attached_late_;  // partitions that join a table which has its keys
};

}  // namespace banyan::replication
