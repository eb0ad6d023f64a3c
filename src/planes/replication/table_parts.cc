#include "planes/replication/table_parts.h"

#include <fmt/format.h>

#include <algorithm>

#include "planes/replication/catalog.h"

namespace banyan::replication {
namespace {

constexpr std::size_t kConditionsAtOnce = 200;
constexpr std::size_t kKeysInList = 1000;
constexpr std::int64_t kRowsOfPart = 100'000;
constexpr std::int64_t kPartsMost = 10'000;

// How far the keys reach, how many rows there are, and whether these lie in the keys' order.
constexpr std::string_view kExtent = R"sql(
select k.least::bigint, k.most::bigint, c.reltuples::bigint, pg_catalog.abs(s.correlation) > 0.5
from (select min({0}) as least, max({0}) as most from {1}) k,
     pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     join pg_catalog.pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname
where c.oid = {2} and s.attname = {3} and k.least is not null and not s.inherited)sql";

using Conditions = std::vector<std::pair<std::string, std::string>>;  // of either side

std::vector<const VerifiedColumn*> key_of(const VerifiedTable& table) {
  std::vector<const VerifiedColumn*> key;
  for (const auto& column : table.columns) {
    if (column.is_key) key.push_back(&column);
  }
  return key;
}

// One whole number on both sides: then ranges of it mean the same rows.
bool has_number_key(const ComparedTable& table) {
  const auto here = key_of(table.active);
  const auto there = key_of(*table.passive);
  return here.size() == 1 && is_whole_number(here[0]->type) && is_whole_number(there[0]->type);
}

VerifiedTable restricted(VerifiedTable table, const std::string& condition) {
  table.where =
      table.where.empty() ? condition : fmt::format("({}) and ({})", table.where, condition);
  return table;
}

// One part for some conditions at a time: a row meets one of them.
std::vector<ComparedTable> parts_where(const ComparedTable& table, const Conditions& conditions,
                                       std::size_t at_once) {
  std::vector<ComparedTable> parts;
  for (std::size_t from = 0; from < conditions.size(); from += at_once) {
    const auto to = std::min(conditions.size(), from + at_once);
    std::string here;
    std::string there;
    for (auto at = from; at < to; at++) {
      here += (at == from ? "" : " or ") + conditions[at].first;
      there += (at == from ? "" : " or ") + conditions[at].second;
    }
    parts.push_back({restricted(table.active, here), restricted(*table.passive, there)});
  }
  return parts;
}

Conditions of_ranges(const ComparedTable& table, const std::vector<TouchedRows::Range>& ranges) {
  Conditions conditions;
  for (const auto& [from, to] : ranges) {
    const auto condition = [low = from, high = to](const VerifiedTable& side) {
      return fmt::format("({} between '{}'::bigint and '{}'::bigint)", side.key()[0], low, high);
    };
    conditions.emplace_back(condition(table.active), condition(*table.passive));
  }
  return conditions;
}

// The places of the table's key columns in `columns`; nothing when these are another key.
std::optional<std::vector<std::size_t>> places_of_key(const VerifiedTable& side,
                                                      const std::vector<std::string>& columns) {
  std::vector<std::size_t> places;
  for (const auto* column : key_of(side)) {
    const auto found = std::ranges::find(columns, column->name);
    if (found == columns.end()) return std::nullopt;
    places.push_back(static_cast<std::size_t>(found - columns.begin()));
  }
  return places.size() == columns.size() ? std::optional(places) : std::nullopt;
}

// Of a key with one column: lists of values, each found by one descent of the key's index.
Conditions of_values(const ComparedTable& table, const std::vector<TouchedRows::Key>& keys) {
  Conditions conditions;
  for (std::size_t from = 0; from < keys.size(); from += kKeysInList) {
    std::string list;
    for (auto at = from; at < std::min(keys.size(), from + kKeysInList); at++) {
      list += (at == from ? "" : ", ") + pg::quote_literal(keys[at].front());
    }
    const auto condition = [&](const VerifiedTable& side) {
      return fmt::format("{} in ({})", side.key()[0], list);
    };
    conditions.emplace_back(condition(table.active), condition(*table.passive));
  }
  return conditions;
}

Conditions of_keys(const ComparedTable& table, const std::vector<TouchedRows::Key>& keys,
                   const std::vector<std::size_t>& places) {
  Conditions conditions;
  for (const auto& touched : keys) {
    TouchedRows::Key key;
    for (const auto place : places) key.push_back(touched[place]);
    conditions.emplace_back(key_condition(table.active, {key}),
                            key_condition(*table.passive, {key}));
  }
  return conditions;
}

// From below the first bound to beyond the last: the other side may have rows outside.
Conditions between(const ComparedTable& table, const std::vector<std::int64_t>& bounds) {
  Conditions conditions;
  for (std::size_t at = 0; at <= bounds.size(); at++) {
    const auto condition = [&](const VerifiedTable& side) {
      const auto key = side.key()[0];
      std::string text = at == 0 ? "true" : fmt::format("{} >= {}", key, bounds[at - 1]);
      if (at < bounds.size()) text += fmt::format(" and {} < {}", key, bounds[at]);
      return text;
    };
    conditions.emplace_back(condition(table.active), condition(*table.passive));
  }
  return conditions;
}

}  // namespace

std::optional<std::vector<ComparedTable>> touched_parts(const ComparedTable& table,
                                                        const VerifiedTable& old_side,
                                                        const std::vector<std::string>& columns,
                                                        const TouchedRows& touched) {
  if (touched.empty()) return std::vector<ComparedTable>();
  const auto places = places_of_key(old_side, columns);
  if (!places || touched.is_all()) return std::nullopt;
  const auto ranges = touched.ranges();
  if (!ranges.empty() && has_number_key(table)) {
    return parts_where(table, of_ranges(table, ranges), kConditionsAtOnce);
  }
  const auto keys = touched.keys();
  if (!keys) return std::nullopt;
  if (places->size() == 1) return parts_where(table, of_values(table, *keys), 1);
  return parts_where(table, of_keys(table, *keys, *places), kConditionsAtOnce);
}

Result<std::vector<ComparedTable>> even_parts(SessionPairRef sides, const ComparedTable& table) {
  if (!table.passive || !has_number_key(table)) return std::vector{table};
  const auto* key = key_of(table.active)[0];
  TRY(const auto found,
      sides.active.query(fmt::format(kExtent, pg::quote_ident(key->name), table.active.rows(),
                                     table.active.oid, pg::quote_literal(key->name))));
  if (found.empty() || !found.boolean(0, 3)) return std::vector{table};
  const auto least = found.integer(0, 0);
  const auto most = found.integer(0, 1);
  const auto parts = std::min(found.integer(0, 2) / kRowsOfPart, kPartsMost);
  const auto width = parts == 0 ? 0 : (most / parts - least / parts);
  std::vector<std::int64_t> bounds;
  for (std::int64_t at = 1; width > 0 && at < parts; at++) bounds.push_back(least + at * width);
  return parts_where(table, between(table, bounds), 1);
}

}  // namespace banyan::replication
