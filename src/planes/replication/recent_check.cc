#include "planes/replication/recent_check.h"

#include <algorithm>
#include <map>

namespace banyan::replication {
namespace {

constexpr std::size_t kKeysPerQuery = 100;

// The values of the touched row's columns in the order of the table's key; empty when it lacks one
// (its replica identity is not the primary key).
std::vector<std::string> key_values(const VerifiedTable& table, const TouchedKey& touched) {
  std::vector<std::string> values;
  for (const auto& column : table.columns) {
    if (!column.is_key) continue;
    const auto found = std::ranges::find(touched.columns, column.name);
    if (found == touched.columns.end()) return {};
    values.push_back(touched.values[static_cast<std::size_t>(found - touched.columns.begin())]);
  }
  return values;
}

// Touched keys are those of the side that was written to: the passive one.
RowKeys keys_of(const VerifiedTable& table, const std::vector<TouchedKey>& touched) {
  RowKeys keys;
  for (const auto& key : touched) {
    if (key.schema != table.schema || key.table != table.name) continue;
    if (auto values = key_values(table, key); !values.empty()) keys.push_back(std::move(values));
  }
  std::ranges::sort(keys);
  const auto repeated = std::ranges::unique(keys);
  keys.erase(repeated.begin(), repeated.end());
  return keys;
}

Result<TableVerdict> check_table(SessionPairRef sides, const ComparedTable& table,
                                 const RowKeys& keys) {
  TableVerdict verdict{
      .table = table.active.qualified, .table_there = table.passive->qualified, .equal = true};
  for (std::size_t from = 0; from < keys.size(); from += kKeysPerQuery) {
    const auto to = std::min(keys.size(), from + kKeysPerQuery);
    TRY(auto part, compare_keys(sides, table,
                                RowKeys(keys.begin() + static_cast<long>(from),
                                        keys.begin() + static_cast<long>(to))));
    verdict.rows += part.rows;
    verdict.equal = verdict.equal && part.equal;
    std::ranges::move(part.differences, std::back_inserter(verdict.differences));
  }
  return verdict;
}

}  // namespace

Result<Verdict> check_recent(SessionPairRef sides, const Direction& direction,
                             const std::vector<TouchedKey>& touched, Duration budget) {
  const auto deadline = SystemClock().now() + budget;
  TRY(const auto known, compared_tables(sides, direction));
  Verdict verdict;
  const auto form = float_form(sides.active, sides.passive);
  TRY_VOID(with_float_form(sides, form, [&]() -> Result<void> {
    for (const auto& table : known) {
      const auto keys = table.passive ? keys_of(*table.passive, touched) : RowKeys();
      if (keys.empty()) continue;
      if (SystemClock().now() > deadline) break;
      TRY(auto checked, check_table(sides, table, keys));
      verdict.rows += checked.rows;
      verdict.equal = verdict.equal && checked.equal;
      verdict.tables.push_back(std::move(checked));
    }
    return {};
  }));
  return verdict;
}

}  // namespace banyan::replication
