#include "planes/replication/table_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <thread>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/apply_progress.h"
#include "planes/replication/copy_plan.h"
#include "planes/replication/fence.h"
#include "planes/replication/row_refetch.h"
#include "planes/replication/source_snapshot.h"

namespace banyan::replication {
namespace {

constexpr std::size_t kWriteBytes = 64 << 10;

// Tables below so many chunks are copied in one piece, which costs both servers less: the table is
// read in the order of its pages, and its rows are written frozen. It is also what a crash repeats,
// and without the slot's snapshot how long the source keeps dead rows.
constexpr int kWhole = 2;
constexpr int kWholeWhenShared = 16;

// A row of applied_chunks that says that the table is complete: no chunk will be added.
constexpr int kDoneMarker = -1;

// A chunk and what it is copied under; without a snapshot it takes one of its own.
struct Task {
  Chunk chunk;
  std::shared_ptr<SourceSnapshot> snapshot;
};

struct Work {
  std::deque<Task> tasks;
  std::map<const Table*, std::size_t> left;  // tasks not yet done
};

std::string_view order_name(KeyOrder order) {
  return order == KeyOrder::kNumber ? "number" : "bytes";
}

constexpr std::string_view kStale = "the table was emptied or rewritten";

// Begun again, it is copied under a later snapshot.
Error stale_table() {
  return {Code::kUnavailable, std::string(kStale), Retry::kSafe};
}

// One worker's pair of sessions.
class Copier {
 public:
  Copier(const TableCopyConfig& config, SnapshotFilter slot, Guarded<CopyProgress>& progress,
         std::stop_token stop)
      : config_(config), slot_(std::move(slot)), progress_(progress), stop_(std::move(stop)) {}
  Result<void> open();
  Result<void> copy(const Task& task);
  pg::Connection& target() { return *target_; }

 private:
  Result<std::string> begin_source(const Task& task);
  Result<std::int64_t> forward_rows(const Chunk& chunk);
  Result<void> copy_once(const Task& task);
  Result<void> into_target(const Chunk& chunk, const std::string& snapshot);
  Result<void> pump(const std::string& table);
  // How rows of a table are written.
  struct Writing {
    bool is_binary = false;
    Table there;
  };
  Result<const Writing*> writing(const Table& table);

  const TableCopyConfig& config_;
  const SnapshotFilter slot_;
  Guarded<CopyProgress>& progress_;
  const std::stop_token stop_;
  std::map<const Table*, Writing> writings_;
  std::optional<pg::Connection> source_;
  std::optional<pg::Connection> target_;
};

Result<void> Copier::open() {
  TRY(auto source, pg::Connection::open(config_.source_url, {.application_name = "banyan_copy"}));
  TRY(auto target, pg::Connection::open(config_.target_url, {.application_name = "banyan_copy"}));
  TRY_VOID(pass_fence(target, config_.migration));
  (void)target.exec("set session_replication_role = replica");  // an optimisation where permitted
  TRY_VOID(target.exec("set synchronous_commit = on"));
  // Ranges of a key are read through its index, each row once; nobody else's cores are taken.
  TRY_VOID(source.exec("set enable_bitmapscan = off; set max_parallel_workers_per_gather = 0"));
  source_ = std::move(source);
  target_ = std::move(target);
  return {};
}

Result<std::string> Copier::begin_source(const Task& task) {
  TRY_VOID(source_->exec(task.chunk.cut == Cut::kKeys ? "set enable_seqscan = off"
                                                      : "set enable_seqscan = on"));
  if (!task.snapshot) return begin_fresh_snapshot(*source_, slot_, task.chunk.table);
  TRY(auto name, task.snapshot->name());
  TRY_VOID(begin_under(*source_, name.exported));
  return name.text;
}

Result<const Copier::Writing*> Copier::writing(const Table& table) {
  const auto known = writings_.find(&table);
  if (known != writings_.end()) return &known->second;
  const auto part = config_.mapping.of(table.schema, table.name);
  TRY(auto there, read_table(*target_, part.target_schema, part.target_table));
  const auto columns = copied_columns(table, config_.mapping);
  bool is_binary = !columns.empty();
  for (const auto* column : columns) {
    const Column* other = there.column(part.target_column(column->name));
    if (other == nullptr) {
      return failure(Code::kConflict, fmt::format("column {} of {} is missing on the new side",
                                                  column->name, table.display()));
    }
    is_binary =
        is_binary && has_stable_binary(column->type_id) && other->type_id == column->type_id;
  }
  return &writings_.insert_or_assign(&table, Writing{is_binary, std::move(there)}).first->second;
}

Result<void> Copier::pump(const std::string& table) {
  std::string buffer;
  buffer.reserve(2 * kWriteBytes);
  const auto flush = [&]() -> Result<void> {
    if (config_.throttle != nullptr) config_.throttle->take(buffer.size(), stop_);
    TRY_VOID(target_->copy_in_write(buffer));
    progress_.with(
        [&](CopyProgress& all) { all[table].bytes += static_cast<std::int64_t>(buffer.size()); });
    buffer.clear();
    return {};
  };
  while (!stop_.stop_requested()) {
    TRY(const auto piece, source_->copy_out_next());
    if (piece) buffer += *piece;
    if (!piece || buffer.size() >= kWriteBytes) TRY_VOID(flush());
    if (!piece) return {};
  }
  return failure(Code::kCancelled, "stopped");
}

Result<std::int64_t> Copier::forward_rows(const Chunk& chunk) {
  TRY(const auto* way, writing(*chunk.table));
  const std::string format = way->is_binary ? "binary" : "text";
  // A partitioned table takes no frozen rows.
  const bool may_freeze = chunk.cut == Cut::kWhole && !way->there.is_partitioned;
  TRY_VOID(source_->copy_out_begin(copy_out_sql(chunk, config_.mapping, format)));
  TRY_VOID(target_->copy_in_begin(
      copy_in_sql(chunk, config_.mapping, format + (may_freeze ? ", freeze" : ""))));
  TRY_VOID(pump(chunk.table->display()));
  TRY(const auto written, target_->copy_in_end());
  if (written == source_->copy_rows()) return written;
  return failure(Code::kCorruption,
                 fmt::format("{} rows were read but {} written", source_->copy_rows(), written));
}

Result<void> Copier::into_target(const Chunk& chunk, const std::string& snapshot) {
  TRY_VOID(target_->exec("begin"));
  TRY_VOID(fail_point("chunk.start"));
  if (config_.has_way_back) TRY_VOID(mark_as_ours(*target_, config_.stream));
  if (chunk.cut == Cut::kWhole) {
    TRY(const auto* way, writing(*chunk.table));
    TRY_VOID(target_->exec("truncate " + way->there.exactly()));
  }
  TRY(const auto rows, forward_rows(chunk));
  TRY_VOID(fail_point("chunk.rows_sent"));
  TRY(const bool is_stale, is_rewritten(*source_, *chunk.table));
  if (is_stale) return std::unexpected(stale_table());
  const auto key = chunk_key(*chunk.table);
  const bool has_keys = chunk.cut == Cut::kKeys;
  const bool has_pages = chunk.cut == Cut::kPages;
  using pg::Param;
  TRY_VOID(target_->query(
      "insert into banyan.applied_chunks(stream, table_name, chunk, lo, hi, snapshot, rows, "
      "key_column, key_order) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
      {config_.stream, chunk.table->display(), std::to_string(chunk.number),
       has_pages ? Param(std::to_string(chunk.from_page)) : chunk.keys.lo,
       has_pages ? Param(std::to_string(chunk.to_page)) : chunk.keys.hi, snapshot,
       std::to_string(rows), has_keys ? Param(chunk.key_column) : std::nullopt,
       has_keys ? Param(std::string(order_name(key->order))) : std::nullopt}));
  // The only one of its table: else a death before the table's mark would have it copied again.
  if (chunk.cut == Cut::kWhole) {
    TRY_VOID(mark_copied(*target_, config_.stream, {*chunk.table}));
  }
  TRY_VOID(fail_point("chunk.recorded"));
  TRY_VOID(target_->exec("commit"));
  TRY_VOID(fail_point("chunk.committed"));
  progress_.with([&](CopyProgress& all) { all[chunk.table->display()].rows += rows; });
  return {};
}

Result<void> Copier::copy_once(const Task& task) {
  TRY(const auto snapshot, begin_source(task));
  TRY_VOID(into_target(task.chunk, snapshot));
  return source_->exec("commit");
}

Result<void> Copier::copy(const Task& task) {
  auto copied = copy_once(task);
  const bool was_stale = !copied && copied.error().message().starts_with(kStale);
  if (was_stale && task.chunk.cut != Cut::kPages) {
    // Under a snapshot of its own, taken behind the table's lock.
    TRY_VOID(source_->exec("rollback"));
    TRY_VOID(target_->exec("rollback"));
    copied = copy_once({task.chunk, nullptr});
  }
  return with_context(std::move(copied), "copying " + task.chunk.table->display());
}

void set_table(Guarded<CopyProgress>& progress, const Table& table, TableState state) {
  progress.with([&](CopyProgress& all) { all[table.display()].state = state; });
}

// What is finished of one table.
struct Finished {
  bool is_done = false;
  std::int64_t rows = 0;
  int chunks = 0;  // numbers up to this one are taken
  std::string key_column;
  std::vector<KeyRange> ranges;
};

Result<std::map<std::string, Finished>> read_finished(pg::Connection& target,
                                                      const std::string& stream) {
  TRY(const auto rows,
      target.query("select table_name, chunk, lo, hi, key_column, rows from banyan.applied_chunks "
                   "where stream = $1",
                   {stream}));
  std::map<std::string, Finished> tables;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    auto& table = tables[rows.str(row, 0)];
    const auto chunk = static_cast<int>(rows.integer(row, 1));
    if (chunk == kDoneMarker) {
      table.is_done = true;
      continue;
    }
    table.rows += rows.integer(row, 5);
    table.chunks = std::max(table.chunks, chunk + 1);
    if (rows.is_null(row, 4)) continue;
    table.key_column = rows.str(row, 4);
    table.ranges.push_back({rows.param(row, 2), rows.param(row, 3)});
  }
  return tables;
}

class Copy {
 public:
  Copy(const TableCopyConfig& config, Guarded<CopyProgress>& progress)
      : config_(config), progress_(progress) {}

  Result<void> plan(std::vector<const Table*> tables);
  Result<void> run(const std::stop_token& stop);

 private:
  Result<void> plan_table(const Table& table, const Finished& finished);
  Result<std::vector<Chunk>> cut(const Table& table, const Finished& finished);
  Result<bool> should_cut_by_keys(const Table& table, const ChunkKey& key);
  Result<void> forget(const Table& table, const Finished& finished);
  Result<void> mark_done(pg::Connection& target, const Table& table);
  Result<void> worker(const std::stop_token& stop);
  std::optional<Task> next();
  bool has_shared_snapshot() const { return !config_.exported_snapshot.empty(); }

  const TableCopyConfig& config_;
  Guarded<CopyProgress>& progress_;
  std::optional<SnapshotFilter> slot_;
  std::shared_ptr<SourceSnapshot> shared_;
  std::optional<pg::Connection> source_;
  std::optional<pg::Connection> target_;
  Guarded<Work> work_;
};

Result<void> Copy::plan(std::vector<const Table*> tables) {
  TRY(auto source, pg::Connection::open(config_.source_url, {.application_name = "banyan_copy"}));
  TRY(auto target, pg::Connection::open(config_.target_url, {.application_name = "banyan_copy"}));
  TRY_VOID(pass_fence(target, config_.migration));
  source_ = std::move(source);
  target_ = std::move(target);
  TRY(slot_, SnapshotFilter::parse(config_.slot_snapshot));
  if (has_shared_snapshot()) {
    TRY(shared_, SourceSnapshot::import(config_.source_url, config_.exported_snapshot));
  }
  TRY(const auto finished, read_finished(*target_, config_.stream));
  // The largest first: what is left at the end are short ones, and no session waits for another.
  std::ranges::sort(tables, std::greater(), &Table::bytes);
  for (const Table* table : tables) {
    const auto found = finished.find(table->display());
    TRY_VOID(plan_table(*table, found == finished.end() ? Finished() : found->second));
  }
  return {};
}

// Reading a key in its order is quick when the rows lie in that order too.
Result<bool> Copy::should_cut_by_keys(const Table& table, const ChunkKey& key) {
  const auto own = config_.modes.find(table.display());
  const auto mode = own == config_.modes.end() ? config_.mode : own->second;
  if (mode != CopyMode::kAuto) return mode == CopyMode::kChunk;
  TRY(const auto rows,
      source_->query("select abs(correlation) from pg_catalog.pg_stats where schemaname = $1 and "
                     "tablename = $2 and attname = $3 and not inherited",
                     {table.schema, table.name, key.column}));
  if (rows.empty() || rows.is_null(0, 0)) return key.order == KeyOrder::kNumber;
  return std::stod(rows.str(0, 0)) > 0.8;
}

Result<std::vector<Chunk>> Copy::cut(const Table& table, const Finished& finished) {
  const auto size = std::max(config_.chunk_bytes, table.bytes / (config_.jobs * 4L));
  const auto key = chunk_key(table);
  if (!finished.ranges.empty() && key && key->column == finished.key_column) {
    return cut_by_keys(*source_, table, *key, gaps_between(key->order, finished.ranges),
                       config_.chunk_bytes);
  }
  const auto whole = config_.chunk_bytes * (has_shared_snapshot() ? kWholeWhenShared : kWhole);
  if (table.bytes < whole) return std::vector{whole_chunk(table)};
  if (key) {
    TRY(const bool by_keys, should_cut_by_keys(table, *key));
    if (by_keys)
      return cut_by_keys(*source_, table, *key, {{}},
                         has_shared_snapshot() ? size : config_.chunk_bytes);
  }
  // Before 14 a range of ctid is found by reading the whole table.
  if (source_->server_version() < 140000 || table.is_partitioned)
    return std::vector{whole_chunk(table)};
  return cut_by_pages(table, size);
}

// Chunks of pages are of use only together, under the one snapshot that is gone.
Result<void> Copy::forget(const Table& table, const Finished& finished) {
  if (finished.chunks == 0) return {};
  const auto part = config_.mapping.of(table.schema, table.name);
  TRY(const auto there, read_table(*target_, part.target_schema, part.target_table));
  TRY_VOID(target_->exec(fmt::format(
      "begin; delete from banyan.applied_chunks where stream = {} and table_name = {}; "
      "truncate {}; commit",
      pg::quote_literal(config_.stream), pg::quote_literal(table.display()), there.exactly())));
  progress_.with([&](CopyProgress& all) {
    all[table.display()].rows = 0;
    all[table.display()].bytes = 0;
  });
  return {};
}

Result<void> Copy::plan_table(const Table& table, const Finished& finished) {
  TRY(auto chunks, cut(table, finished));
  if (chunks.empty()) {
    set_table(progress_, table, TableState::kCopied);
    return mark_done(*target_, table);
  }
  const bool by_keys = chunks.front().cut == Cut::kKeys;
  if (!by_keys) TRY_VOID(forget(table, finished));
  auto snapshot = shared_;
  if (!snapshot && chunks.front().cut == Cut::kPages) {
    snapshot = std::make_shared<SourceSnapshot>(config_.source_url, *slot_);
  }
  work_.with([&](Work& work) {
    work.left[&table] = chunks.size();
    for (auto& chunk : chunks) {
      if (by_keys) chunk.number += finished.chunks;
      work.tasks.push_back({std::move(chunk), snapshot});
    }
  });
  return {};
}

Result<void> Copy::mark_done(pg::Connection& target, const Table& table) {
  return mark_copied(target, config_.stream, {table});
}

std::optional<Task> Copy::next() {
  return work_.with([](Work& work) -> std::optional<Task> {
    if (work.tasks.empty()) return std::nullopt;
    auto task = std::move(work.tasks.front());
    work.tasks.pop_front();
    return task;
  });
}

Result<void> Copy::worker(const std::stop_token& stop) {
  Copier copier(config_, *slot_, progress_, stop);
  TRY_VOID(copier.open());
  while (!stop.stop_requested()) {
    const auto task = next();
    if (!task) return {};
    const Table& table = *task->chunk.table;
    set_table(progress_, table, TableState::kCopying);
    TRY_VOID(copier.copy(*task));
    const bool is_last = work_.with([&](Work& work) { return --work.left[&table] == 0; });
    if (!is_last) continue;
    TRY_VOID(fail_point("table.copied"));
    TRY_VOID(mark_done(copier.target(), table));
    TRY_VOID(fail_point("table.recorded"));
    set_table(progress_, table, TableState::kCopied);
  }
  return failure(Code::kCancelled, "stopped");
}

Result<void> Copy::run(const std::stop_token& stop) {
  std::stop_source failed;
  Guarded<std::optional<Error>> error;
  const std::stop_callback pass_on(stop, [&] { failed.request_stop(); });
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < config_.jobs; ++i) {
      workers.emplace_back([&] {
        auto done = worker(failed.get_token());
        if (done) return;
        error.with([&](std::optional<Error>& first) {
          if (!first) first = std::move(done).error();
        });
        failed.request_stop();
      });
    }
  }
  auto first = error.with([](std::optional<Error>& e) { return std::move(e); });
  if (first) return std::unexpected(std::move(*first));
  return {};
}

// The chunks of one table, until a filter is made of them.
struct TableChunks {
  bool is_done = false;
  std::string key_column;
  KeyOrder order = KeyOrder::kBytes;
  std::vector<CopiedPiece> pieces;
};

Result<std::map<std::string, TableChunks>> read_chunks(pg::Connection& target,
                                                       const std::string& stream) {
  TRY(const auto rows, target.query("select table_name, chunk, lo, hi, key_column, key_order, "
                                    "snapshot from banyan.applied_chunks where stream = $1",
                                    {stream}));
  std::map<std::string, TableChunks> tables;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    auto& table = tables[rows.str(row, 0)];
    if (rows.integer(row, 1) == kDoneMarker) {
      table.is_done = true;
      continue;
    }
    CopiedPiece piece;
    if (!rows.is_null(row, 4)) {
      table.key_column = rows.str(row, 4);
      table.order = rows.text(row, 5) == "number" ? KeyOrder::kNumber : KeyOrder::kBytes;
      piece.range = {rows.param(row, 2), rows.param(row, 3)};
    }
    if (!rows.text(row, 6).empty()) {
      TRY(piece.snapshot, SnapshotFilter::parse(rows.text(row, 6)));
    }
    table.pieces.push_back(std::move(piece));
  }
  return tables;
}

}  // namespace

Result<void> mark_copied(pg::Connection& target, const std::string& stream,
                         const std::vector<Table>& tables) {
  for (const auto& table : tables) {
    TRY_VOID(
        target.query("insert into banyan.applied_chunks(stream, table_name, chunk, snapshot, rows) "
                     "select $1, $2, $3, '', coalesce(sum(rows), 0) from banyan.applied_chunks "
                     "where stream = $1 and table_name = $2 on conflict do nothing",
                     {stream, table.display(), std::to_string(kDoneMarker)}));
  }
  return {};
}

Result<std::vector<const Table*>> load_copied(pg::Connection& target, const std::string& stream,
                                              const std::vector<Table>& tables,
                                              Guarded<CopyProgress>& progress) {
  TRY(const auto finished, read_finished(target, stream));
  std::vector<const Table*> left;
  progress.with([&](CopyProgress& all) {
    all.clear();
    for (const auto& table : tables) {
      auto& one = all[table.display()];
      one.rows_estimate = table.rows_estimate;
      one.bytes_total = table.bytes;
      const auto found = finished.find(table.display());
      const bool is_done = found != finished.end() && found->second.is_done;
      if (!is_done) left.push_back(&table);
      if (found == finished.end()) continue;
      one.rows = found->second.rows;
      const auto rows = std::max<std::int64_t>(1, table.rows_estimate);
      one.bytes = is_done ? table.bytes : std::min(table.bytes, table.bytes / rows * one.rows);
      if (is_done) one.state = TableState::kCopied;
    }
  });
  return left;
}

Result<void> copy_tables(const TableCopyConfig& config, Guarded<CopyProgress>& progress,
                         const std::stop_token& stop) {
  TRY(auto target, pg::Connection::open(config.target_url, {.application_name = "banyan_copy"}));
  TRY(auto left, load_copied(target, config.stream, config.tables, progress));
  if (left.empty()) return {};
  Copy copy(config, progress);
  TRY_VOID(copy.plan(std::move(left)));
  return copy.run(stop);
}

Result<std::map<std::string, ChunkFilter>> read_filters(pg::Connection& target,
                                                        const std::string& stream) {
  TRY(auto tables, read_chunks(target, stream));
  std::map<std::string, ChunkFilter> filters;
  for (auto& [name, table] : tables) {
    const bool is_shared = std::ranges::none_of(
        table.pieces, [](const CopiedPiece& piece) { return piece.snapshot.has_value(); });
    if (!table.is_done || is_shared) continue;
    if (table.key_column.empty()) {
      // Its chunks of pages share one snapshot.
      filters.emplace(name, ChunkFilter(*table.pieces.front().snapshot));
      continue;
    }
    TRY(auto filter,
        with_context(ChunkFilter::create(table.key_column, table.order, std::move(table.pieces)),
                     "the copy of " + name));
    filters.emplace(name, std::move(filter));
  }
  TRY_VOID(load_refetched(target, stream, filters));
  return filters;
}

}  // namespace banyan::replication
