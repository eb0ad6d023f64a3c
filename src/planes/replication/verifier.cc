#include "planes/replication/verifier.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "base/fail_point.h"
#include "base/guarded.h"
#include "wire/pg/replication.h"

namespace banyan::replication {
namespace {

constexpr int kBuckets = 1024;
constexpr std::size_t kBucketsAtOnce = 8;      // unequal buckets read row by row
constexpr std::size_t kDifferenceBytes = 400;  // of each version

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string all;
  for (const auto& part : parts) all += (all.empty() ? "" : std::string(separator)) + part;
  return all;
}

std::string row_text(const std::vector<std::string>& columns) {
  return fmt::format("(row({})::text collate \"C\")", joined(columns, ", "));
}

// 64 bits of hash of a text; the same on both sides whatever their locale.
std::string hash_of(const std::string& text, bool has_extended_hash) {
  if (has_extended_hash) return fmt::format("pg_catalog.hashtextextended({}, 0)", text);
  return fmt::format("('x' || substr(md5({}), 1, 16))::bit(64)::bigint", text);
}

struct Queries {
  std::string total;    // count, hash
  std::string buckets;  // bucket, count, hash
  std::string rows;     // key, row, how many, the key's columns; of the buckets that follow
  std::string rows_end;
};

// ", a::text, b::text" of the key, and their places for the grouping.
std::string key_texts(const VerifiedTable& table) {
  std::string texts;
  for (const auto& column : table.key) texts += fmt::format(", {}::text", column);
  return texts;
}

std::string key_groups(const VerifiedTable& table) {
  std::string places;
  for (std::size_t at = 0; at < table.key.size(); at++) places += fmt::format(", {}", at + 4);
  return places;
}

Queries queries_for(const VerifiedTable& table, bool has_extended_hash) {
  const auto row = row_text(table.columns);
  const auto hash = hash_of(row, has_extended_hash);
  const auto key = table.key.empty() ? row : row_text(table.key);
  const auto bucket = fmt::format("({} & {})", hash_of(key, has_extended_hash), kBuckets - 1);
  const auto shown = table.key.empty() ? std::string("''") : key;
  return {
      fmt::format("select count(*), coalesce(sum({}), 0) from only {}", hash, table.qualified),
      fmt::format("select {}, count(*), sum({}) from only {} group by 1", bucket, hash,
                  table.qualified),
      fmt::format("select {}, {}, count(*){} from only {} where {} in (", shown, row,
                  key_texts(table), table.qualified, bucket),
      fmt::format(") group by 1, 2{}", key_groups(table)),
  };
}

using BucketSums = std::map<std::int64_t, std::pair<std::string, std::string>>;

Result<BucketSums> bucket_sums(pg::Connection& db, const std::string& sql) {
  TRY(const auto rows, db.query(sql));
  BucketSums sums;
  for (std::size_t row = 0; row < rows.size(); row++) {
    sums[rows.integer(row, 0)] = {rows.str(row, 1), rows.str(row, 2)};
  }
  return sums;
}

std::vector<std::string> unequal_buckets(const BucketSums& left, const BucketSums& right) {
  std::vector<std::string> unequal;
  for (std::int64_t bucket = 0; bucket < kBuckets; bucket++) {
    const auto in_left = left.find(bucket);
    const auto in_right = right.find(bucket);
    const bool both = in_left != left.end() && in_right != right.end();
    const bool neither = in_left == left.end() && in_right == right.end();
    if (neither || (both && in_left->second == in_right->second)) continue;
    unequal.push_back(std::to_string(bucket));
  }
  return unequal;
}

// (key, row) -> how often, so that equal rows of a table without a key are counted.
struct RowCounts {
  std::map<std::pair<std::string, std::string>, std::int64_t> rows;
  std::map<std::string, std::vector<std::string>> keys;  // the columns of each key
};

Result<RowCounts> row_counts(pg::Connection& db, const std::string& sql) {
  TRY(const auto rows, db.query(sql));
  RowCounts counts;
  for (std::size_t row = 0; row < rows.size(); row++) {
    counts.rows[{rows.str(row, 0), rows.str(row, 1)}] += rows.integer(row, 2);
    auto& key = counts.keys[rows.str(row, 0)];
    if (!key.empty()) continue;
    for (std::size_t column = 3; column < rows.columns(); column++) {
      key.push_back(rows.str(row, column));
    }
  }
  return counts;
}

std::string shown(const std::string& row, std::int64_t times) {
  auto text = row.substr(0, kDifferenceBytes);
  return times == 1 ? text : fmt::format("{} x {}", times, text);
}

Difference difference_without_key(const std::string& row, std::int64_t in_source,
                                  std::int64_t in_target) {
  Difference difference;
  if (in_source > 0) difference.source = shown(row, in_source);
  if (in_target > 0) difference.target = shown(row, in_target);
  return difference;
}

std::vector<Difference> differences_of(const RowCounts& source, const RowCounts& target,
                                       bool has_key) {
  std::map<std::string, Difference> by_key;
  std::vector<Difference> found;
  const auto note = [&](const auto& entry, std::int64_t in_source, std::int64_t in_target) {
    const auto& [key, row] = entry;
    if (in_source == in_target) return;
    if (!has_key) return found.push_back(difference_without_key(row, in_source, in_target));
    auto& difference = by_key[key];
    difference.key = key;
    const auto& keys = in_source > 0 ? source.keys : target.keys;
    if (const auto columns = keys.find(key); columns != keys.end()) {
      difference.key_values = columns->second;
    }
    if (in_source > 0) difference.source = shown(row, in_source);
    if (in_target > 0) difference.target = shown(row, in_target);
  };
  for (const auto& [entry, times] : source.rows) {
    const auto other = target.rows.find(entry);
    note(entry, times, other == target.rows.end() ? 0 : other->second);
  }
  for (const auto& [entry, times] : target.rows) {
    if (!source.rows.contains(entry)) note(entry, 0, times);
  }
  for (auto& [key, difference] : by_key) found.push_back(std::move(difference));
  return found;
}

// Runs the same statement on both sides at once: the wait is the longer one, not the sum.
template <class Fn>
auto on_both(pg::Connection& active, pg::Connection& passive, Fn read) {
  std::optional<decltype(read(passive))> there;
  std::thread other([&] { there.emplace(read(passive)); });
  auto here = read(active);
  other.join();
  return std::pair(std::move(here), *std::move(there));
}

// The differing rows of some unequal buckets.
Result<std::vector<Difference>> open_buckets(SessionPairRef sides, const VerifiedTable& table,
                                             const Queries& queries,
                                             const std::vector<std::string>& buckets) {
  const auto sql = queries.rows + joined(buckets, ", ") + queries.rows_end;
  TRY(const auto source, row_counts(sides.active, sql));
  TRY(const auto target, row_counts(sides.passive, sql));
  return differences_of(source, target, !table.key.empty());
}

Result<void> narrow(SessionPairRef sides, const VerifiedTable& table, const Queries& queries,
                    const DifferenceLimits& limits, TableVerdict& verdict) {
  auto [source, target] = on_both(sides.active, sides.passive, [&](pg::Connection& db) {
    return bucket_sums(db, queries.buckets);
  });
  if (!source) return std::unexpected(std::move(source).error());
  if (!target) return std::unexpected(std::move(target).error());
  auto buckets = unequal_buckets(*source, *target);
  verdict.has_more = buckets.size() > limits.buckets;
  buckets.resize(std::min(buckets.size(), limits.buckets));
  for (std::size_t from = 0; from < buckets.size(); from += kBucketsAtOnce) {
    const auto to = std::min(buckets.size(), from + kBucketsAtOnce);
    TRY(auto found, open_buckets(sides, table, queries,
                                 {buckets.begin() + static_cast<long>(from),
                                  buckets.begin() + static_cast<long>(to)}));
    std::ranges::move(found, std::back_inserter(verdict.differences));
    if (verdict.differences.size() <= limits.rows) continue;
    verdict.has_more = true;
    verdict.differences.resize(limits.rows);
    break;
  }
  return {};
}

bool has_extended_hash(const pg::Connection& active, const pg::Connection& passive) {
  return active.server_version() >= 110000 && passive.server_version() >= 110000;
}

constexpr std::string_view kFloatBytes =
    "case a.atttypid when 700 then 'pg_catalog.float4send(%s)' when 701 then "
    "'pg_catalog.float8send(%s)' when 1021 then 'pg_catalog.array_send(%s)' when 1022 then "
    "'pg_catalog.array_send(%s)' else '%s' end";

constexpr std::string_view kTables = R"sql(
select t.qualified,
  pg_catalog.format({}, pg_catalog.quote_ident(a.attname)),
  exists (select 1 from pg_catalog.pg_index i where i.indrelid = t.oid and i.indisprimary
          and a.attnum = any (i.indkey::int2[])), pg_catalog.quote_ident(a.attname)
from (select c.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
      from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      where c.relkind = 'r' and c.relpersistence = 'p' and c.oid = any ('{{{}}}'::oid[])
     ) t(oid, qualified)
left join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
order by 1, 4)sql";

// Pairs of sessions, each pair holding the same two snapshots.
Result<std::vector<SessionPair>> open_pairs(const VerifierOptions& options) {
  TRY(auto slot_session, pg::ReplicationConnection::open(options.active_url, "banyan_verify"));
  static std::atomic<int> serial = 0;
  const auto slot_name = fmt::format("banyan_verify_{}_{}", getpid(), serial++);
  pg::CreatedSlot slot;
  const auto create_slot = [&]() -> Result<pg::Lsn> {
    TRY(slot, slot_session.create_slot(slot_name, pg::Snapshot::kExport, pg::SlotLife::kTemporary));
    return slot.consistent_point;
  };
  std::vector<SessionPair> pairs;
  TRY(auto holder, open_pinned(options.passive_url));
  std::string passive_snapshot;
  TRY_VOID(options.at_point(create_slot, [&]() -> Result<void> {
    TRY_VOID(holder.exec("begin isolation level repeatable read read only"));
    TRY(const auto exported, holder.query("select pg_catalog.pg_export_snapshot()"));
    passive_snapshot = exported.str(0, 0);
    return {};
  }));
  TRY_VOID(fail_point("verify.snapshots_taken"));
  for (int job = 0; job < std::max(1, options.jobs); job++) {
    TRY(auto active, open_at(options.active_url, slot.snapshot));
    TRY(auto passive, open_at(options.passive_url, passive_snapshot));
    pairs.push_back({std::move(active), std::move(passive)});
  }
  return pairs;
}

TableVerdict missing_table(const VerifiedTable& table) {
  TableVerdict verdict{.table = table.qualified};
  verdict.differences.push_back({.source = std::string(kMissingTable)});
  return verdict;
}

}  // namespace

Result<void> pin_formats(pg::Connection& db) {
  return db.exec("set timezone = 'UTC'; set lc_monetary = 'C'; set xmloption = content");
}

Result<pg::Connection> open_pinned(const std::string& url) {
  pg::ConnectOptions options;
  options.application_name = "banyan_verify";
  TRY(auto db, pg::Connection::open(url, options));
  TRY_VOID(pin_formats(db));
  return db;
}

Result<pg::Connection> open_at(const std::string& url, const std::string& snapshot) {
  TRY(auto db, open_pinned(url));
  TRY_VOID(db.exec("begin isolation level repeatable read read only; set transaction snapshot " +
                   pg::quote_literal(snapshot)));
  return db;
}

std::string key_condition(const VerifiedTable& table,
                          const std::vector<std::vector<std::string>>& keys) {
  std::string sql;
  for (const auto& key : keys) {
    std::string one;
    for (std::size_t column = 0; column < table.key.size() && column < key.size(); column++) {
      one += fmt::format("{}{} = {}", column > 0 ? " and " : "", table.key[column],
                         pg::quote_literal(key[column]));
    }
    sql += fmt::format("{}({})", sql.empty() ? "" : " or ", one);
  }
  return sql;
}

FloatForm float_form(const pg::Connection& active, const pg::Connection& passive) {
  const bool same = (active.server_version() >= 120000) == (passive.server_version() >= 120000);
  return same ? FloatForm::kText : FloatForm::kBytes;
}

Result<void> with_float_form(SessionPairRef sides, FloatForm form,
                             const std::function<Result<void>()>& compare) {
  if (form == FloatForm::kText) return compare();
  for (auto* db : {&sides.active, &sides.passive}) TRY_VOID(db->exec("set extra_float_digits = 0"));
  auto compared = compare();
  for (auto* db : {&sides.active, &sides.passive}) {
    if (compared) compared = db->exec("set extra_float_digits = 3");
  }
  return compared;
}

Result<std::vector<VerifiedTable>> verified_tables(pg::Connection& db, const TableNames& tables,
                                                   FloatForm form) {
  TRY(const auto moved, fenced_tables(db, tables));
  std::string oids;
  for (const auto& table : moved) oids += fmt::format("{}{}", oids.empty() ? "" : ",", table.oid);
  TRY(const auto rows,
      db.query(fmt::format(kTables, form == FloatForm::kBytes ? kFloatBytes : "'%s'", oids)));
  std::vector<VerifiedTable> found;
  for (std::size_t row = 0; row < rows.size(); row++) {
    if (found.empty() || found.back().qualified != rows.text(row, 0)) {
      found.push_back({rows.str(row, 0), {}, {}});
    }
    if (rows.is_null(row, 3)) continue;  // a table without columns
    found.back().columns.push_back(rows.str(row, 1));
    if (rows.boolean(row, 2)) found.back().key.push_back(rows.str(row, 3));
  }
  return found;
}

Result<TableVerdict> compare_table(pg::Connection& active, pg::Connection& passive,
                                   const VerifiedTable& table, const DifferenceLimits& limits) {
  const auto queries = queries_for(table, has_extended_hash(active, passive));
  auto [source, target] =
      on_both(active, passive, [&](pg::Connection& db) { return db.query(queries.total); });
  if (!source) return std::unexpected(std::move(source).error().with_context(table.qualified));
  if (!target) return std::unexpected(std::move(target).error().with_context(table.qualified));
  TableVerdict verdict{.table = table.qualified, .rows = source->integer(0, 0)};
  verdict.equal =
      source->text(0, 0) == target->text(0, 0) && source->text(0, 1) == target->text(0, 1);
  if (!verdict.equal) TRY_VOID(narrow({active, passive}, table, queries, limits, verdict));
  return verdict;
}

Result<TableVerdict> compare_keys(pg::Connection& active, pg::Connection& passive,
                                  const VerifiedTable& table,
                                  const std::vector<std::vector<std::string>>& keys) {
  const auto sql = fmt::format("select {}, {}, count(*){} from only {} where {} group by 1, 2{}",
                               row_text(table.key), row_text(table.columns), key_texts(table),
                               table.qualified, key_condition(table, keys), key_groups(table));
  auto [here, there] =
      on_both(active, passive, [&](pg::Connection& db) { return row_counts(db, sql); });
  TRY(const auto source, std::move(here));
  TRY(const auto target, std::move(there));
  TableVerdict verdict{.table = table.qualified,
                       .rows = static_cast<std::int64_t>(keys.size()),
                       .equal = source.rows == target.rows};
  if (!verdict.equal) verdict.differences = differences_of(source, target, true);
  return verdict;
}

Result<Verdict> compare_all(std::vector<SessionPair>& pairs, const VerifierOptions& options) {
  const auto form = float_form(pairs.front().active, pairs.front().passive);
  TRY(const auto tables, verified_tables(pairs.front().active, options.tables, form));
  TRY(const auto there, verified_tables(pairs.front().passive, options.tables, form));
  std::vector<std::optional<Result<TableVerdict>>> results(tables.size());
  std::atomic<std::size_t> next = 0;
  const auto compare = [&](SessionPair& pair, const VerifiedTable& table) -> Result<TableVerdict> {
    if (std::ranges::find(there, table) == there.end()) return missing_table(table);
    TableVerdict verdict;
    TRY_VOID(with_float_form({pair.active, pair.passive}, form, [&]() -> Result<void> {
      TRY(verdict, compare_table(pair.active, pair.passive, table, options.limits));
      return {};
    }));
    return verdict;
  };
  const auto work = [&](SessionPair& pair) {
    for (auto mine = next++; mine < tables.size() && !options.is_cancelled(); mine = next++) {
      results[mine] = compare(pair, tables[mine]);
    }
  };
  std::vector<std::thread> workers;
  for (auto& pair : pairs) workers.emplace_back([&work, &pair] { work(pair); });
  for (auto& worker : workers) worker.join();
  Verdict verdict;
  for (auto& result : results) {
    if (!result) return failure(Code::kCancelled, "verification was cancelled");
    TRY(auto table, std::move(*result));
    verdict.rows += table.rows;
    verdict.equal = verdict.equal && table.equal;
    verdict.tables.push_back(std::move(table));
  }
  return verdict;
}

Result<Verdict> verify(const VerifierOptions& options) {
  TRY(auto pairs, with_context(open_pairs(options), "taking a snapshot on both sides"));
  return compare_all(pairs, options);
}

}  // namespace banyan::replication
