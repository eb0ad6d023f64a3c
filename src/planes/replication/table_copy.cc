#include "planes/replication/table_copy.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <thread>
#include <unordered_set>

#include "base/log.h"

namespace banyan::replication {
namespace {

constexpr std::int64_t kPageBytes = 8192;
constexpr std::int64_t kChunkPagesLeast = 8192;  // 64 MB
constexpr std::size_t kWriteBytes = 256 << 10;

// A range of pages of one table; `to` 0 is the open end.
struct Chunk {
  const Table* table = nullptr;
  int number = 0;
  std::int64_t from = 0;
  std::int64_t to = 0;
  bool is_whole() const { return from == 0 && to == 0; }
};

struct Work {
  std::deque<Chunk> chunks;
  std::map<const Table*, int> left;  // chunks not yet copied
};

bool is_stable_type(std::uint32_t type) {
  // Built-in types whose binary form is the same in every version: bool, bytea, char, name, int8,
  // int2, int4, text, json, float4, float8, bpchar, varchar, date, time, timestamp(tz), timetz,
  // numeric, uuid, jsonb.
  static const std::unordered_set<std::uint32_t> kStable = {
      16,   17,   18,   19,   20,   21,   23,   25,   114,  700, 701,
      1042, 1043, 1082, 1083, 1114, 1184, 1266, 1700, 2950, 3802};
  return kStable.contains(type);
}

class Copier {
 public:
  Copier(const TableCopyConfig& config, Guarded<CopyProgress>& progress, std::stop_token stop)
      : config_(config), progress_(progress), stop_(std::move(stop)) {}
  Result<void> open();
  Result<void> import_snapshot(const std::string& name);
  Result<std::string> fresh_snapshot();
  Result<void> copy(const Chunk& chunk, const std::string& snapshot);
  Result<void> end_snapshot() { return source_->exec("commit"); }
  Result<std::vector<Chunk>> cut(const Table& table, int jobs);
  pg::Connection& target() { return *target_; }

 private:
  Result<std::int64_t> forward_rows(const Chunk& chunk);
  Result<void> into_target(const Chunk& chunk, const std::string& snapshot);
  Result<bool> can_use_binary(const Table& table);
  Result<void> wait_until_durable(const std::string& position);

  const TableCopyConfig& config_;
  Guarded<CopyProgress>& progress_;
  const std::stop_token stop_;
  std::optional<pg::Connection> source_;
  std::optional<pg::Connection> target_;
};

Result<void> Copier::open() {
  TRY(auto source, pg::Connection::open(config_.source_url, {.application_name = "banyan_copy"}));
  TRY(auto target, pg::Connection::open(config_.target_url, {.application_name = "banyan_copy"}));
  TRY_VOID(pass_fence(target, config_.migration));
  (void)target.exec("set session_replication_role = replica");  // an optimisation where permitted
  TRY_VOID(target.exec("set synchronous_commit = on"));
  source_ = std::move(source);
  target_ = std::move(target);
  return {};
}

Result<void> Copier::import_snapshot(const std::string& name) {
  return source_->exec(
      "begin isolation level repeatable read read only; set transaction snapshot " +
      pg::quote_literal(name));
}

Result<void> Copier::wait_until_durable(const std::string& position) {
  // What an asynchronous commit made visible may still vanish in a crash of the source.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    TRY(const auto rows,
        source_->query("select pg_catalog.pg_current_wal_flush_lsn() >= $1::pg_lsn", {position}));
    if (rows.boolean(0, 0)) return {};
    std::this_thread::sleep_for(10ms);
  }
  return failure(Code::kTimeout, "the source does not write its log to disk", Retry::kSafe);
}

Result<std::string> Copier::fresh_snapshot() {
  TRY(const auto slot, SnapshotFilter::parse(config_.slot_snapshot));
  const auto* function =
      source_->server_version() >= 130000 ? "pg_current_snapshot" : "txid_current_snapshot";
  for (int attempt = 0; attempt < 600; ++attempt) {
    TRY_VOID(source_->exec("begin isolation level repeatable read read only"));
    TRY(const auto rows, source_->query(fmt::format("select pg_catalog.{}()::text, "
                                                    "pg_catalog.pg_current_wal_insert_lsn()::text",
                                                    function)));
    TRY(const auto mine, SnapshotFilter::parse(rows.text(0, 0)));
    if (mine.includes(slot)) {
      TRY_VOID(wait_until_durable(rows.str(0, 1)));
      return rows.str(0, 0);
    }
    TRY_VOID(source_->exec("commit"));
    std::this_thread::sleep_for(100ms);
  }
  return failure(Code::kTimeout, "a transaction older than the slot does not end", Retry::kSafe);
}

Result<std::vector<Chunk>> Copier::cut(const Table& table, int jobs) {
  TRY(const auto rows,
      source_->query("select pg_catalog.pg_relation_size($1::oid)", {std::to_string(table.oid)}));
  const auto pages = rows.integer(0, 0) / kPageBytes;
  const auto size = std::max(kChunkPagesLeast, pages / (jobs * 4L));
  // Before 14 a range of ctid is found by reading the whole table.
  if (pages < 2 * kChunkPagesLeast || source_->server_version() < 140000) {
    return std::vector<Chunk>{{.table = &table}};
  }
  std::vector<Chunk> chunks;
  for (std::int64_t from = 0; from < pages; from += size) {
    const auto to = from + size < pages ? from + size : 0;
    chunks.push_back(
        {.table = &table, .number = static_cast<int>(chunks.size()), .from = from, .to = to});
  }
  return chunks;
}

Result<bool> Copier::can_use_binary(const Table& table) {
  TRY(const auto here, read_table(*target_, table.schema, table.name));
  for (const auto& column : table.columns) {
    const Column* other = here.column(column.name);
    if (other == nullptr && !column.is_generated) {
      return failure(Code::kConflict, fmt::format("column {} of {} is missing on the new side",
                                                  column.name, table.display()));
    }
    if (column.is_generated) continue;
    if (!is_stable_type(column.type_id) || other->type_id != column.type_id) return false;
  }
  return true;
}

std::string column_list(const Table& table) {
  std::string list;
  for (const auto& column : table.columns) {
    if (column.is_generated) continue;
    list += (list.empty() ? "" : ", ") + pg::quote_ident(column.name);
  }
  return list;
}

std::string source_sql(const Chunk& chunk, std::string_view format) {
  const auto columns = column_list(*chunk.table);
  const auto table = chunk.table->qualified();
  if (chunk.is_whole() && !columns.empty()) {
    return fmt::format("copy {} ({}) to stdout (format {})", table, columns, format);
  }
  auto where = fmt::format("ctid >= '({},0)'", chunk.from);
  if (chunk.to != 0) where += fmt::format(" and ctid < '({},0)'", chunk.to);
  return fmt::format("copy (select {} from only {} where {}) to stdout (format {})", columns, table,
                     where, format);
}

std::string target_sql(const Chunk& chunk, std::string_view format) {
  const auto columns = column_list(*chunk.table);
  return fmt::format("copy {}{} from stdin (format {}{})", chunk.table->qualified(),
                     columns.empty() ? "" : " (" + columns + ")", format,
                     chunk.is_whole() ? ", freeze" : "");
}

Result<std::int64_t> Copier::forward_rows(const Chunk& chunk) {
  TRY(const bool is_binary, can_use_binary(*chunk.table));
  const auto* format = is_binary && !column_list(*chunk.table).empty() ? "binary" : "text";
  TRY_VOID(source_->copy_out_begin(source_sql(chunk, format)));
  TRY_VOID(target_->copy_in_begin(target_sql(chunk, format)));
  std::string buffer;
  std::int64_t sent = 0;
  const auto flush = [&]() -> Result<void> {
    TRY_VOID(target_->copy_in_write(buffer));
    sent += static_cast<std::int64_t>(buffer.size());
    progress_.with([&](CopyProgress& all) {
      all[chunk.table->display()].bytes += static_cast<std::int64_t>(buffer.size());
    });
    buffer.clear();
    return {};
  };
  while (true) {
    TRY(const auto piece, source_->copy_out_next());
    if (piece) buffer += *piece;
    if (!piece || buffer.size() >= kWriteBytes) TRY_VOID(flush());
    if (stop_.stop_requested()) return failure(Code::kCancelled, "stopped");
    if (!piece) break;
  }
  TRY(const auto written, target_->copy_in_end());
  if (written == source_->copy_rows()) return written;
  return failure(Code::kCorruption,
                 fmt::format("{} rows were read but {} written", source_->copy_rows(), written));
}

Result<void> Copier::into_target(const Chunk& chunk, const std::string& snapshot) {
  TRY_VOID(target_->exec("begin"));
  if (chunk.is_whole()) TRY_VOID(target_->exec("truncate only " + chunk.table->qualified()));
  TRY(const auto rows, forward_rows(chunk));
  TRY_VOID(target_->query(
      "insert into banyan.applied_chunks(stream, table_name, chunk, lo, hi, snapshot, rows) "
      "values ($1, $2, $3, $4, $5, $6, $7)",
      {config_.stream, chunk.table->display(), std::to_string(chunk.number),
       std::to_string(chunk.from), std::to_string(chunk.to), snapshot, std::to_string(rows)}));
  TRY_VOID(target_->exec("commit"));
  progress_.with([&](CopyProgress& all) { all[chunk.table->display()].rows += rows; });
  return {};
}

Result<void> Copier::copy(const Chunk& chunk, const std::string& snapshot) {
  return with_context(into_target(chunk, snapshot), "copying " + chunk.table->display());
}

// A row of applied_chunks that says that the table is complete: no chunk will be added.
constexpr int kDoneMarker = -1;

Result<void> mark_done(pg::Connection& target, const TableCopyConfig& config, const Table& table) {
  TRY_VOID(
      target.query("insert into banyan.applied_chunks(stream, table_name, chunk, snapshot, rows) "
                   "select $1, $2, $3, max(snapshot), sum(rows) from banyan.applied_chunks "
                   "where stream = $1 and table_name = $2",
                   {config.stream, table.display(), std::to_string(kDoneMarker)}));
  return {};
}

void set_table(Guarded<CopyProgress>& progress, const Table& table, TableState state) {
  progress.with([&](CopyProgress& all) { all[table.display()].state = state; });
}

Result<std::map<std::string, std::int64_t>> done_tables(pg::Connection& target,
                                                        const std::string& stream) {
  TRY(const auto rows, target.query("select table_name, rows from banyan.applied_chunks "
                                    "where stream = $1 and chunk = $2",
                                    {stream, std::to_string(kDoneMarker)}));
  std::map<std::string, std::int64_t> done;
  for (std::size_t row = 0; row < rows.size(); ++row) done[rows.str(row, 0)] = rows.integer(row, 1);
  return done;
}

// Mode S: chunks of all tables in one list, under one snapshot.
class SharedSnapshotCopy {
 public:
  SharedSnapshotCopy(const TableCopyConfig& config, Guarded<CopyProgress>& progress)
      : config_(config), progress_(progress) {}

  Result<void> plan(const std::vector<const Table*>& tables) {
    Copier copier(config_, progress_, {});
    TRY_VOID(copier.open());
    TRY_VOID(copier.import_snapshot(config_.exported_snapshot));
    for (const Table* table : tables) {
      TRY(const auto chunks, copier.cut(*table, config_.jobs));
      work_.with([&](Work& work) {
        work.left[table] = static_cast<int>(chunks.size());
        work.chunks.insert(work.chunks.end(), chunks.begin(), chunks.end());
      });
    }
    return {};
  }

  Result<void> worker(const std::stop_token& stop) {
    Copier copier(config_, progress_, stop);
    TRY_VOID(copier.open());
    TRY_VOID(copier.import_snapshot(config_.exported_snapshot));
    while (!stop.stop_requested()) {
      const auto chunk = next();
      if (!chunk) return {};
      set_table(progress_, *chunk->table, TableState::kCopying);
      TRY_VOID(copier.copy(*chunk, ""));
      const bool is_last = work_.with([&](Work& work) { return --work.left[chunk->table] == 0; });
      if (!is_last) continue;
      TRY_VOID(mark_done(copier.target(), config_, *chunk->table));
      set_table(progress_, *chunk->table, TableState::kCopied);
    }
    return failure(Code::kCancelled, "stopped");
  }

 private:
  std::optional<Chunk> next() {
    return work_.with([](Work& work) -> std::optional<Chunk> {
      if (work.chunks.empty()) return std::nullopt;
      const Chunk chunk = work.chunks.front();
      work.chunks.pop_front();
      return chunk;
    });
  }
  const TableCopyConfig& config_;
  Guarded<CopyProgress>& progress_;
  Guarded<Work> work_;
};

// Mode T: a table at a time for each worker, each under a fresh snapshot.
class FreshSnapshotCopy {
 public:
  FreshSnapshotCopy(const TableCopyConfig& config, Guarded<CopyProgress>& progress)
      : config_(config), progress_(progress) {}

  Result<void> plan(const std::vector<const Table*>& tables) {
    tables_.with([&](std::deque<const Table*>& all) { all.assign(tables.begin(), tables.end()); });
    return {};
  }

  Result<void> worker(const std::stop_token& stop) {
    Copier copier(config_, progress_, stop);
    TRY_VOID(copier.open());
    while (!stop.stop_requested()) {
      const Table* table = next();
      if (table == nullptr) return {};
      TRY_VOID(copy_table(copier, *table));
    }
    return failure(Code::kCancelled, "stopped");
  }

 private:
  const Table* next() {
    return tables_.with([](std::deque<const Table*>& all) -> const Table* {
      if (all.empty()) return nullptr;
      const Table* table = all.front();
      all.pop_front();
      return table;
    });
  }
  Result<void> copy_table(Copier& copier, const Table& table) {
    set_table(progress_, table, TableState::kCopying);
    const auto where =
        fmt::format("where stream = {} and table_name = {}", pg::quote_literal(config_.stream),
                    pg::quote_literal(table.display()));
    TRY_VOID(copier.target().exec(fmt::format(
        "delete from banyan.applied_chunks {}; truncate only {}", where, table.qualified())));
    TRY(const auto snapshot, copier.fresh_snapshot());
    TRY_VOID(copier.copy({.table = &table}, snapshot));
    TRY_VOID(copier.end_snapshot());
    TRY_VOID(mark_done(copier.target(), config_, table));
    set_table(progress_, table, TableState::kCopied);
    return {};
  }
  const TableCopyConfig& config_;
  Guarded<CopyProgress>& progress_;
  Guarded<std::deque<const Table*>> tables_;
};

template <class Copy>
Result<void> run_workers(Copy& copy, int jobs, const std::stop_token& stop) {
  std::stop_source failed;
  Guarded<std::optional<Error>> error;
  const std::stop_callback pass_on(stop, [&] { failed.request_stop(); });
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < jobs; ++i) {
      workers.emplace_back([&] {
        auto done = copy.worker(failed.get_token());
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

template <class Copy>
Result<void> run_copy(const TableCopyConfig& config, Guarded<CopyProgress>& progress,
                      const std::vector<const Table*>& tables, const std::stop_token& stop) {
  Copy copy(config, progress);
  TRY_VOID(copy.plan(tables));
  return run_workers(copy, config.jobs, stop);
}

}  // namespace

Result<std::vector<const Table*>> load_copied(pg::Connection& target, const std::string& stream,
                                              const std::vector<Table>& tables,
                                              Guarded<CopyProgress>& progress) {
  TRY(const auto done, done_tables(target, stream));
  std::vector<const Table*> left;
  progress.with([&](CopyProgress& all) {
    all.clear();
    for (const auto& table : tables) {
      auto& one = all[table.display()];
      one.rows_estimate = table.rows_estimate;
      one.bytes_total = table.bytes;
      const auto finished = done.find(table.display());
      if (finished == done.end()) {
        left.push_back(&table);
        continue;
      }
      one.state = TableState::kCopied;
      one.rows = finished->second;
      one.bytes = table.bytes;
    }
  });
  return left;
}

Result<void> copy_tables(const TableCopyConfig& config, Guarded<CopyProgress>& progress,
                         const std::stop_token& stop) {
  TRY(auto target, pg::Connection::open(config.target_url, {.application_name = "banyan_copy"}));
  TRY(const auto left, load_copied(target, config.stream, config.tables, progress));
  if (left.empty()) return {};
  if (config.exported_snapshot.empty()) {
    return run_copy<FreshSnapshotCopy>(config, progress, left, stop);
  }
  return run_copy<SharedSnapshotCopy>(config, progress, left, stop);
}

Result<std::map<std::string, SnapshotFilter>> read_filters(pg::Connection& target,
                                                           const std::string& stream) {
  TRY(const auto rows, target.query("select table_name, snapshot from banyan.applied_chunks "
                                    "where stream = $1 and chunk = $2 and snapshot <> ''",
                                    {stream, std::to_string(kDoneMarker)}));
  std::map<std::string, SnapshotFilter> filters;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    TRY(auto filter, SnapshotFilter::parse(rows.text(row, 1)));
    filters.emplace(rows.str(row, 0), std::move(filter));
  }
  return filters;
}

}  // namespace banyan::replication
