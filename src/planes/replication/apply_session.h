#pragma once
// ApplySession: a session with the applying side that writes batches, one target transaction each:
//
//   begin, mark (a row of banyan.progress of its own part), the rows, move the progress, commit
//
// The progress is moved last, so a session holds its row only just before its commit. What sets of
// rows cannot write is rolled back and written row by row, in order. Every statement's row count
// must be the expected one; otherwise nothing is committed and the error names the table and the
// source position. A session belongs to one thread; after an error of which roll_back() is not
// possible it is thrown away.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "planes/replication/apply_progress.h"
#include "planes/replication/batch_writer.h"

namespace banyan::replication {

struct ApplySessionConfig {
  std::string migration;
  std::string stream;
  std::int64_t epoch = 0;
  int part = 0;
  BatchWriter::Way way = BatchWriter::Way::kSets;
};

// How a commit moves the stream's progress.
struct Move {
  pg::Lsn from;
  pg::Lsn to;
  std::int64_t barrier_epoch = 0;       // the last one so far
  std::optional<std::int64_t> barrier;  // one that is in the batch
};

// Where the target's log stood right after a commit.
struct LogPositions {
  pg::Lsn inserted;
  pg::Lsn flushed;
};

class ApplySession {
 public:
  // A connection as applying needs it: past the fence, and in replica role where permitted.
  static Result<pg::Connection> connect(const std::string& url, const std::string& migration,
                                        const std::string& stream);
  ApplySession(pg::Connection connection, ApplySessionConfig config, TablePlans& plans,
               BatchWriterConfig writing)
      : config_(std::move(config)),
        connection_(std::move(connection)),
        writer_(connection_, plans, std::move(writing)) {}

  // Writes a batch, or a part of one; several parts make one transaction. With `move` it is the
  // last part: only commit() is left to do.
  Result<void> write(const Batch& batch, const Move* move);
  // Writes a batch as sets while earlier ones are open; after a failure roll_back(), then write()
  // it when they are not.
  Result<void> write_beside(const Batch& batch, const Beside& beside);
  Result<void> advance(const Move& move);
  Result<LogPositions> commit();
  // Undoes all parts; the session can be used again.
  Result<void> roll_back();
  bool is_in_batch() const { return has_parts_; }
  Result<LogPositions> log_positions();

  // What the last failure was about, when a single row is known.
  std::optional<Misfit> misfit();
  // Since the last call.
  std::int64_t take_row_by_row() { return std::exchange(row_by_row_, 0); }
  std::int64_t take_rows() { return writer_.take_rows(); }

  pg::Connection& connection() { return connection_; }

 private:
  using Way = BatchWriter::Way;
  Result<void> try_part(const Batch& batch, Way way, const Move* move);
  Result<void> begin_part();
  Result<void> send_move(const Move& move);
  Result<void> rewind();

  const ApplySessionConfig config_;
  pg::Connection connection_;
  BatchWriter writer_;
  bool has_parts_ = false;  // of the open batch
  std::int64_t row_by_row_ = 0;
};

}  // namespace banyan::replication
