#include "planes/replication/recent_check.h"

#include <algorithm>
#include <map>

namespace banyan::replication {
namespace {

constexpr std::size_t kKeysPerQuery = 100;

using Keys = std::vector<std::vector<std::string>>;

// The values of the touched row's columns in the order of the table's key; empty when it lacks one
// (its replica identity is not the primary key).
std::vector<std::string> key_values(const VerifiedTable& table, const TouchedKey& touched) {
  std::vector<std::string> values;
  for (const auto& column : table.key) {
    for (std::size_t at = 0; at < touched.columns.size(); at++) {
      const bool same =
          pg::quote_ident(touched.columns[at]) == column || touched.columns[at] == column;
      if (same) values.push_back(touched.values[at]);
    }
  }
  if (values.size() != table.key.size()) values.clear();
  return values;
}

// pg_catalog.quote_ident leaves plain names bare; so compare names, not their spelling.
bool is_of(const TouchedKey& touched, const VerifiedTable& table) {
  const auto quoted = pg::quote_qualified(touched.schema, touched.table);
  return quoted == table.qualified || touched.schema + "." + touched.table == table.qualified ||
         touched.schema + "." + pg::quote_ident(touched.table) == table.qualified ||
         pg::quote_ident(touched.schema) + "." + touched.table == table.qualified;
}

Keys keys_of(const VerifiedTable& table, const std::vector<TouchedKey>& touched) {
  Keys keys;
  for (const auto& key : touched) {
    if (!is_of(key, table)) continue;
    if (auto values = key_values(table, key); !values.empty()) keys.push_back(std::move(values));
  }
  std::ranges::sort(keys);
  const auto repeated = std::ranges::unique(keys);
  keys.erase(repeated.begin(), repeated.end());
  return keys;
}

Result<TableVerdict> check_table(pg::Connection& active, pg::Connection& passive,
                                 const VerifiedTable& table, const Keys& keys) {
  TableVerdict verdict{.table = table.qualified, .equal = true};
  for (std::size_t from = 0; from < keys.size(); from += kKeysPerQuery) {
    const auto to = std::min(keys.size(), from + kKeysPerQuery);
    TRY(auto part, compare_keys(active, passive, table,
                                Keys(keys.begin() + static_cast<long>(from),
                                     keys.begin() + static_cast<long>(to))));
    verdict.rows += part.rows;
    verdict.equal = verdict.equal && part.equal;
    std::ranges::move(part.differences, std::back_inserter(verdict.differences));
  }
  return verdict;
}

}  // namespace

Result<Verdict> check_recent(pg::Connection& active, pg::Connection& passive,
                             const TableNames& tables, const std::vector<TouchedKey>& touched,
                             Duration budget) {
  const auto deadline = SystemClock().now() + budget;
  const auto form = float_form(active, passive);
  TRY(const auto known, verified_tables(active, tables, form));
  Verdict verdict;
  TRY_VOID(with_float_form({active, passive}, form, [&]() -> Result<void> {
    for (const auto& table : known) {
      const auto keys = table.key.empty() ? Keys() : keys_of(table, touched);
      if (keys.empty()) continue;
      if (SystemClock().now() > deadline) break;
      TRY(auto checked, check_table(active, passive, table, keys));
      verdict.rows += checked.rows;
      verdict.equal = verdict.equal && checked.equal;
      verdict.tables.push_back(std::move(checked));
    }
    return {};
  }));
  return verdict;
}

}  // namespace banyan::replication
