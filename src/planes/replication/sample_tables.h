#pragma once
// For tests: a table with a key, as a comparison sees it.

#include <string>

#include "planes/replication/verified_tables.h"

namespace banyan::replication {

inline VerifiedTable table_with(const std::string& key_type) {
  return {.schema = "public",
          .name = "t",
          .qualified = "public.t",
          .columns = {{"id", "id", key_type, true}, {"v", "v", "text", false}},
          .is_partitioned = false,
          .where = "",
          .oid = "16384"};
}

inline ComparedTable both(const std::string& key_type) {
  return {table_with(key_type), table_with(key_type)};
}

}  // namespace banyan::replication
