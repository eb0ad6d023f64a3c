#include "planes/replication/verifier.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "base/fail_point.h"
#include "base/guarded.h"
#include "planes/replication/source_snapshot.h"
#include "planes/replication/table_parts.h"
#include "wire/pg/replication.h"

namespace banyan::replication {
namespace {

constexpr int kBuckets = 1024;
constexpr std::size_t kBucketsAtOnce = 8;      // unequal buckets read row by row, at least
constexpr std::int64_t kRowsAtOnce = 10'000;   // of more of them
constexpr std::size_t kDifferenceBytes = 400;  // of each version
constexpr auto kRestMost = 5s;
constexpr const char* kPatience = "set lock_timeout = '5s'";

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string all;
  for (const auto& part : parts) all += (all.empty() ? "" : std::string(separator)) + part;
  return all;
}

std::string row_text(const std::vector<std::string>& columns) {
  return fmt::format("(row({})::text collate \"C\")", joined(columns, ", "));
}

std::string row_text(const VerifiedTable& table) {
  std::vector<std::string> expressions;
  for (const auto& column : table.columns) expressions.push_back(column.expression);
  return row_text(expressions);
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
std::string key_texts(const std::vector<std::string>& key) {
  std::string texts;
  for (const auto& column : key) texts += fmt::format(", {}::text", column);
  return texts;
}

std::string key_groups(const std::vector<std::string>& key) {
  std::string places;
  for (std::size_t at = 0; at < key.size(); at++) places += fmt::format(", {}", at + 4);
  return places;
}

Queries queries_for(const VerifiedTable& table, bool has_extended_hash) {
  const auto row = row_text(table);
  const auto hash = hash_of(row, has_extended_hash);
  const auto key = table.key();
  const auto named = key.empty() ? row : row_text(key);
  const auto bucket = fmt::format("({} & {})", hash_of(named, has_extended_hash), kBuckets - 1);
  const auto shown = key.empty() ? std::string("''") : named;
  const auto rows = table.rows();
  return {
      fmt::format("select count(*), coalesce(sum({}), 0) from {}", hash, rows),
      fmt::format("select {}, count(*), sum({}) from {} group by 1", bucket, hash, rows),
      fmt::format("select {}, {}, count(*){} from {} and {} in (", shown, row, key_texts(key), rows,
                  bucket),
      fmt::format(") group by 1, 2{}", key_groups(key)),
  };
}

// The same questions in the words of each side.
struct PairQueries {
  Queries active;
  Queries passive;
};

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

// Asks both sides at once, each with words of its own: the wait is the longer one, not the sum.
template <class Words, class Fn>
auto on_both(SessionPairRef sides, const Words& here, const Words& there, Fn read) {
  std::optional<decltype(read(sides.passive, there))> answer;
  std::thread other([&] { answer.emplace(read(sides.passive, there)); });
  auto mine = read(sides.active, here);
  other.join();
  return std::pair(std::move(mine), *std::move(answer));
}

// The differing rows of some unequal buckets.
Result<std::vector<Difference>> open_buckets(SessionPairRef sides, const PairQueries& queries,
                                             const std::vector<std::string>& buckets,
                                             bool has_key) {
  const auto read = [&](pg::Connection& db, const Queries& words) {
    return row_counts(db, words.rows + joined(buckets, ", ") + words.rows_end);
  };
  auto [here, there] = on_both(sides, queries.active, queries.passive, read);
  TRY(const auto source, std::move(here));
  TRY(const auto target, std::move(there));
  return differences_of(source, target, has_key);
}

// Where a group of buckets ends that begins at `from`: each group costs a reading of the table.
std::size_t end_of_group(const std::vector<std::string>& buckets, std::size_t from,
                         const BucketSums& sums) {
  std::int64_t rows = 0;
  auto to = from;
  for (; to < buckets.size() && (to - from < kBucketsAtOnce || rows < kRowsAtOnce); to++) {
    const auto sum = sums.find(std::stoll(buckets[to]));
    if (sum != sums.end()) rows += std::stoll(sum->second.first);
  }
  return to;
}

Result<void> narrow(SessionPairRef sides, const ComparedTable& table, const PairQueries& queries,
                    const DifferenceLimits& limits, TableVerdict& verdict) {
  auto [source, target] = on_both(
      sides, queries.active, queries.passive,
      [](pg::Connection& db, const Queries& words) { return bucket_sums(db, words.buckets); });
  if (!source) return std::unexpected(std::move(source).error());
  if (!target) return std::unexpected(std::move(target).error());
  auto buckets = unequal_buckets(*source, *target);
  verdict.has_more = buckets.size() > limits.buckets;
  buckets.resize(std::min(buckets.size(), limits.buckets));
  for (std::size_t from = 0, to = 0; from < buckets.size(); from = to) {
    to = end_of_group(buckets, from, *source);
    TRY(auto found, open_buckets(sides, queries,
                                 {buckets.begin() + static_cast<long>(from),
                                  buckets.begin() + static_cast<long>(to)},
                                 !table.active.key().empty()));
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

TableVerdict verdict_of(const ComparedTable& table) {
  return {.table = table.active.qualified,
          .table_there = table.passive ? table.passive->qualified : ""};
}

std::unexpected<Error> cancelled() {
  return failure(Code::kCancelled, "verification was cancelled");
}

TableVerdict missing_table(const ComparedTable& table) {
  auto verdict = verdict_of(table);
  verdict.differences.push_back({.source = std::string(kMissingTable)});
  return verdict;
}

// Of one side; nobody is kept waiting there for a lock of the other one.
std::unexpected<Error> unread(Error error, const std::string& table) {
  if (error.code() == Code::kTimeout) {
    error = std::move(error).with_remedy(
        "1. A session has locked the table for longer than that: let it end, then compare again.");
  }
  return std::unexpected(std::move(error).with_context(table));
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
  TRY_VOID(db.exec(kPatience));
  return db;
}

Result<pg::Connection> open_at(const std::string& url, const std::string& snapshot) {
  TRY(auto db, open_pinned(url));
  TRY_VOID(begin_under(db, snapshot));
  return db;
}

Result<TableVerdict> compare_table(SessionPairRef sides, const ComparedTable& table,
                                   const DifferenceLimits& limits) {
  if (!table.passive) return missing_table(table);
  const bool extended = has_extended_hash(sides.active, sides.passive);
  const PairQueries queries{queries_for(table.active, extended),
                            queries_for(*table.passive, extended)};
  auto [source, target] =
      on_both(sides, queries.active, queries.passive,
              [](pg::Connection& db, const Queries& words) { return db.query(words.total); });
  const auto& name = table.active.qualified;
  if (!source) return unread(std::move(source).error(), name);
  if (!target) return unread(std::move(target).error(), name);
  auto verdict = verdict_of(table);
  verdict.rows = source->integer(0, 0);
  verdict.equal =
      source->text(0, 0) == target->text(0, 0) && source->text(0, 1) == target->text(0, 1);
  if (!verdict.equal) TRY_VOID(narrow(sides, table, queries, limits, verdict));
  return verdict;
}

Result<TableVerdict> compare_keys(SessionPairRef sides, const ComparedTable& table,
                                  const RowKeys& keys) {
  if (!table.passive) return missing_table(table);
  const auto rows_of = [&](pg::Connection& db, const VerifiedTable& side) {
    const auto key = side.key();
    return row_counts(db, fmt::format("select {}, {}, count(*){} from {} and ({}) group by 1, 2{}",
                                      row_text(key), row_text(side), key_texts(key), side.rows(),
                                      key_condition(side, keys), key_groups(key)));
  };
  auto [here, there] = on_both(sides, table.active, *table.passive, rows_of);
  TRY(const auto source, std::move(here));
  TRY(const auto target, std::move(there));
  auto verdict = verdict_of(table);
  verdict.rows = static_cast<std::int64_t>(keys.size());
  verdict.equal = source.rows == target.rows;
  if (!verdict.equal) verdict.differences = differences_of(source, target, true);
  return verdict;
}

namespace {

void add_part(TableVerdict& all, TableVerdict part, const DifferenceLimits& limits) {
  all.rows += part.rows;
  all.equal = all.equal && part.equal;
  all.has_more = all.has_more || part.has_more;
  std::ranges::move(part.differences, std::back_inserter(all.differences));
  if (all.differences.size() <= limits.rows) return;
  all.differences.resize(limits.rows);
  all.has_more = true;
}

void rest_after(Duration work, const VerifierOptions& options) {
  const auto rest = std::chrono::duration_cast<Duration>(work * options.rest);
  const auto until = SystemClock().now() + std::min<Duration>(rest, kRestMost);
  while (SystemClock().now() < until && !options.is_cancelled()) std::this_thread::sleep_for(20ms);
}

// One table, as far as it is covered.
Result<TableVerdict> compare_covered(SessionPairRef sides, const ComparedTable& table,
                                     const VerifierOptions& options) {
  const auto& [parts, compared] = options.coverage;
  auto verdict = verdict_of(table);
  verdict.equal = true;
  auto covered = parts ? parts(table) : std::vector{table};
  const bool is_whole = covered.size() == 1 && covered[0].active.where == table.active.where;
  if (is_whole && options.rest > 0) {
    TRY(covered, even_parts(sides, table));
  }
  TRY_VOID(with_float_form(sides, float_form(sides.active, sides.passive), [&]() -> Result<void> {
    for (const auto& part : covered) {
      if (options.is_cancelled()) return cancelled();
      const auto begun = SystemClock().now();
      TRY(auto found, compare_table(sides, part, options.limits));
      add_part(verdict, std::move(found), options.limits);
      rest_after(SystemClock().now() - begun, options);
    }
    return {};
  }));
  if (compared) compared(table, verdict);
  return verdict;
}

// Compares the tables that `verdict` does not tell of yet, beginning none but the first ones after
// `until`; whether it tells of all then.
Result<bool> compare_more(std::vector<SessionPair>& pairs, const VerifierOptions& options,
                          Mono until, Verdict& verdict) {
  auto& first = pairs.front();
  TRY(auto tables, compared_tables({first.active, first.passive}, options.direction));
  std::erase_if(tables, [&](const ComparedTable& table) {
    return std::ranges::find(verdict.tables, table.active.qualified, &TableVerdict::table) !=
           verdict.tables.end();
  });
  std::vector<std::optional<Result<TableVerdict>>> results(tables.size());
  std::atomic<std::size_t> next = 0;
  const auto work = [&](SessionPair& pair) {
    for (auto mine = next++; mine < tables.size() && !options.is_cancelled(); mine = next++) {
      if (mine >= pairs.size() && SystemClock().now() > until) return;
      results[mine] = compare_covered({pair.active, pair.passive}, tables[mine], options);
    }
  };
  std::vector<std::thread> workers;
  for (auto& pair : pairs) workers.emplace_back([&work, &pair] { work(pair); });
  for (auto& worker : workers) worker.join();
  for (auto& result : results) {
    if (!result) continue;
    TRY(auto table, std::move(*result));
    verdict.rows += table.rows;
    verdict.equal = verdict.equal && table.equal;
    verdict.tables.push_back(std::move(table));
  }
  return std::ranges::all_of(results, [](const auto& result) { return result.has_value(); });
}

}  // namespace

Result<Verdict> compare_until(SessionPairRef sides, const VerifierOptions& options, Mono until) {
  TRY(const auto tables, compared_tables(sides, options.direction));
  Verdict verdict;
  for (const auto& table : tables) {
    if (SystemClock().now() > until) break;
    TRY(auto found, compare_covered(sides, table, options));
    verdict.rows += found.rows;
    verdict.equal = verdict.equal && found.equal;
    if (found.rows > 0 || !found.equal) verdict.tables.push_back(std::move(found));
  }
  return verdict;
}

Result<Verdict> compare_all(std::vector<SessionPair>& pairs, const VerifierOptions& options) {
  Verdict verdict;
  TRY(const bool is_all, compare_more(pairs, options, Mono::max(), verdict));
  if (!is_all) return cancelled();
  return verdict;
}

Result<Verdict> verify(const VerifierOptions& options) {
  Verdict verdict;
  while (!options.is_cancelled()) {
    const auto until = SystemClock().now() + options.snapshot_age;
    TRY(auto pairs, with_context(open_pairs(options), "taking a snapshot on both sides"));
    TRY(const bool is_all, compare_more(pairs, options, until, verdict));
    if (is_all) return verdict;
  }
  return cancelled();
}

}  // namespace banyan::replication
