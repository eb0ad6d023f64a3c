#pragma once
// Pipeline: many statements in flight on one Connection without waiting for each answer.
//
// Bounded: at most two windows (256 statements or 1 MB) are unanswered, and answers are read while
// statements are written, so neither side can block the other, and libpq's buffer stays small.
// Answers come in the order of the statements.
// After the first failed statement the server skips the rest up to finish().
//   Pipeline pipeline(connection); pipeline.execute("u1", params); auto done = pipeline.finish();

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "wire/pg/connection.h"

namespace banyan::pg {

// A parameter in text format, zero-terminated; nullptr is NULL. Borrowed until the call returns.
using RawParam = const char*;

// A parameter in binary format, as the type's receive function takes it.
using BinaryParam = std::string_view;

struct StepResult {
  std::int64_t affected = 0;
  std::string sqlstate;  // empty: it succeeded
  std::string message;
  bool skipped = false;     // an earlier statement failed
  std::string first_value;  // of a statement that returns rows
};

class Pipeline {
 public:
  // Borrows the connection, which must be idle and is used by nobody else until finish().
  explicit Pipeline(Connection& connection) : connection_(connection) {}
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;
  // Leaves the pipeline; what was not finished is lost with the connection.
  ~Pipeline();

  Result<void> prepare(const std::string& name, const std::string& sql);
  Result<void> execute(const std::string& name, std::span<const RawParam> params);
  Result<void> execute_binary(const std::string& name, std::span<const BinaryParam> params);
  Result<void> query(const std::string& sql, std::span<const RawParam> params = {});
  // Answers read so far; grows with every call above, complete after finish().
  const std::vector<StepResult>& results() const [[clang::lifetimebound]] { return results_; }
  // Forgets the answers read so far (they were looked at).
  void forget_results() { results_.clear(); }
  // Ends the pipeline: all answers are in. The connection is back in its usual mode. A failed
  // statement is in results(), not a failed Result: that means the connection is lost.
  Result<void> finish();

 private:
  Result<void> enter();
  Result<void> sent(int accepted, std::size_t bytes);
  Result<void> read_answers(std::size_t until_unanswered);
  Result<void> wait_io();
  void take_answer(pg_result* result);

  Connection& connection_;
  bool entered_ = false;
  std::size_t unanswered_ = 0;
  std::size_t since_flush_ = 0;
  std::size_t bytes_since_flush_ = 0;
  std::vector<StepResult> results_;
};

}  // namespace banyan::pg
