#include "wire/pg/pipeline.h"

#include <libpq-fe.h>
#include <poll.h>

#include <cstring>

namespace banyan::pg {
namespace {

constexpr std::size_t kWindow = 256;
constexpr std::size_t kWindowBytes = 1 << 20;

std::size_t size_of(std::span<const RawParam> params) {
  std::size_t bytes = 0;
  for (const auto* param : params) bytes += param == nullptr ? 0 : std::strlen(param);
  return bytes;
}

std::string field(const pg_result* result, int code) {
  const char* value = PQresultErrorField(result, code);
  return value == nullptr ? std::string() : std::string(value);
}

}  // namespace

Pipeline::~Pipeline() {
  if (!entered_) return;
  // Left in the middle of something: nobody can tell what the session has done, so it ends.
  connection_.conn_.reset(PQconnectStart("host=/nonexistent"));
}

Result<void> Pipeline::enter() {
  if (entered_) return {};
  PGconn* conn = connection_.conn_.get();
  if (PQsetnonblocking(conn, 1) != 0 || PQenterPipelineMode(conn) != 1) return connection_.lost();
  entered_ = true;
  return {};
}

Result<void> Pipeline::prepare(const std::string& name, const std::string& sql) {
  TRY_VOID(enter());
  return sent(PQsendPrepare(connection_.conn_.get(), name.c_str(), sql.c_str(), 0, nullptr),
              sql.size());
}

Result<void> Pipeline::execute(const std::string& name, std::span<const RawParam> params) {
  TRY_VOID(enter());
  return sent(
      PQsendQueryPrepared(connection_.conn_.get(), name.c_str(), static_cast<int>(params.size()),
                          params.data(), nullptr, nullptr, 0),
      size_of(params));
}

Result<void> Pipeline::execute_binary(const std::string& name,
                                      std::span<const BinaryParam> params) {
  TRY_VOID(enter());
  std::vector<const char*> values;
  std::vector<int> lengths;
  std::size_t bytes = 0;
  for (const auto& param : params) {
    values.push_back(param.data());
    lengths.push_back(static_cast<int>(param.size()));
    bytes += param.size();
  }
  const std::vector<int> formats(params.size(), 1);
  return sent(
      PQsendQueryPrepared(connection_.conn_.get(), name.c_str(), static_cast<int>(params.size()),
                          values.data(), lengths.data(), formats.data(), 0),
      bytes);
}

Result<void> Pipeline::query(const std::string& sql, std::span<const RawParam> params) {
  TRY_VOID(enter());
  return sent(
      PQsendQueryParams(connection_.conn_.get(), sql.c_str(), static_cast<int>(params.size()),
                        nullptr, params.data(), nullptr, nullptr, 0),
      sql.size() + size_of(params));
}

Result<void> Pipeline::sent(int accepted, std::size_t bytes) {
  if (accepted != 1) return connection_.lost();
  ++unanswered_;
  bytes_since_flush_ += bytes;
  if (++since_flush_ < kWindow && bytes_since_flush_ < kWindowBytes) return {};
  const auto window = std::exchange(since_flush_, 0);
  bytes_since_flush_ = 0;
  if (PQsendFlushRequest(connection_.conn_.get()) != 1) return connection_.lost();
  return read_answers(window);
}

Result<void> Pipeline::read_answers(std::size_t until_unanswered) {
  PGconn* conn = connection_.conn_.get();
  while (unanswered_ > until_unanswered) {
    if (PQflush(conn) < 0) return connection_.lost();
    if (PQisBusy(conn) != 0) {
      TRY_VOID(wait_io());
      continue;
    }
    if (pg_result* result = PQgetResult(conn)) take_answer(result);
    if (PQstatus(conn) != CONNECTION_OK) return connection_.lost();
  }
  return {};
}

Result<void> Pipeline::wait_io() {
  PGconn* conn = connection_.conn_.get();
  const int pending = PQflush(conn);
  if (pending < 0) return connection_.lost();
  const auto events = static_cast<short>(POLLIN | (pending == 1 ? POLLOUT : 0));
  pollfd poll_fd{PQsocket(conn), events, 0};
  poll(&poll_fd, 1, 1000);
  if ((poll_fd.revents & ~POLLOUT) != 0 && PQconsumeInput(conn) != 1) return connection_.lost();
  return {};
}

void Pipeline::take_answer(pg_result* raw) {
  const Rows rows(raw);
  const auto status = PQresultStatus(raw);
  if (status == PGRES_PIPELINE_SYNC) return;
  StepResult step{.affected = rows.affected(),
                  .sqlstate = {},
                  .message = {},
                  .skipped = false,
                  .first_value = {}};
  if (status == PGRES_TUPLES_OK && rows.size() > 0) step.first_value = rows.str(0, 0);
  step.skipped = status == PGRES_PIPELINE_ABORTED;
  if (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE) {
    step.sqlstate = field(raw, PG_DIAG_SQLSTATE);
    step.message = field(raw, PG_DIAG_MESSAGE_PRIMARY);
    if (step.sqlstate.empty()) step.sqlstate = "08006";
  }
  results_.push_back(std::move(step));
  --unanswered_;
}

Result<void> Pipeline::finish() {
  if (!entered_) return {};
  PGconn* conn = connection_.conn_.get();
  if (PQpipelineSync(conn) != 1) return connection_.lost();
  TRY_VOID(read_answers(0));
  while (true) {  // the sync point itself
    while (PQisBusy(conn) != 0) TRY_VOID(wait_io());
    pg_result* result = PQgetResult(conn);
    if (result == nullptr) {
      if (PQstatus(conn) != CONNECTION_OK) return connection_.lost();
      continue;
    }
    const auto status = PQresultStatus(result);
    PQclear(result);
    if (status == PGRES_PIPELINE_SYNC) break;
    return connection_.lost();
  }
  if (PQexitPipelineMode(conn) != 1 || PQsetnonblocking(conn, 0) != 0) return connection_.lost();
  entered_ = false;
  since_flush_ = 0;
  bytes_since_flush_ = 0;
  return {};
}

}  // namespace banyan::pg
