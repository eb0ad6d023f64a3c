#pragma once
// CarriedTables: which of the tables in a shared log are those of one migration. By what the source
// says; a table that is renamed stays what it was. Partitions made later are found when their first
// row comes. One thread at a time.

#include <cstdint>
#include <set>
#include <string>

#include "planes/replication/control_schema.h"
#include "planes/replication/transaction.h"

namespace banyan::replication {

class CarriedTables {
 public:
  // `tables` is not empty: the source's names.
  static Result<CarriedTables> create(std::string source_url, std::string migration,
                                      TableNames tables);
  // kConflict when the source does not know the relation any more, and it may have been a partition
  // of ours: to leave its rows out could lose them.
  Result<bool> has(const Relation& relation);

 private:
  CarriedTables(std::string source_url, std::string migration, TableNames tables)
      : source_url_(std::move(source_url)),
        migration_(std::move(migration)),
        tables_(std::move(tables)) {}
  Result<void> look(pg::Connection& source);
  Result<bool> belongs_to_others(pg::Connection& source, const Relation& relation) const;
  bool knows(const Relation& relation) const;

  std::string source_url_;
  std::string migration_;
  TableNames tables_;
  std::set<std::uint32_t> ids_;
  std::set<std::string> names_;  // as "schema.table"
  bool may_grow_ = false;        // one of them is partitioned
  std::set<std::pair<std::uint32_t, std::string>> others_;
};

}  // namespace banyan::replication
