#include "wire/pg/replication.h"

#include <fmt/format.h>
#include <libpq-fe.h>
#include <poll.h>

namespace banyan::pg {
namespace {

// Microseconds between the Unix and the PostgreSQL epoch.
constexpr std::int64_t kEpochGap = 946'684'800'000'000;

std::uint64_t get64(std::string_view bytes, std::size_t at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 8; ++i)
    value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

void put64(std::string& out, std::uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xFF);
}

std::int64_t postgres_now() {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(since).count() - kEpochGap;
}

// The newest protocol the server speaks; transactions in progress are streamed as soon as it can.
std::string_view plugin_options(int server_version) {
  if (server_version >= 160000) return "proto_version '4', streaming 'parallel', messages 'true'";
  if (server_version >= 140000) return "proto_version '2', streaming 'on', messages 'true'";
  return "proto_version '1'";
}

}  // namespace

Result<ReplicationConnection> ReplicationConnection::open(std::string_view conninfo_or_url,
                                                          std::string application_name) {
  TRY(auto connection,
      Connection::open(conninfo_or_url, {.application_name = std::move(application_name),
                                         .replication = Replication::kDatabase}));
  return ReplicationConnection(std::move(connection));
}

Result<SystemIdentity> ReplicationConnection::identify() {
  TRY(auto rows, connection_.query("IDENTIFY_SYSTEM"));
  if (rows.size() != 1) return failure(Code::kInternal, "IDENTIFY_SYSTEM gave no row");
  TRY(const auto flushed, parse_lsn(rows.text(0, 2)));
  return SystemIdentity{
      .system_id = rows.str(0, 0), .timeline = rows.str(0, 1), .flushed = flushed};
}

Result<CreatedSlot> ReplicationConnection::create_slot(const std::string& name, Snapshot snapshot,
                                                       SlotLife life) {
  const auto sql =
      fmt::format("CREATE_REPLICATION_SLOT {} {} LOGICAL pgoutput {}", quote_ident(name),
                  life == SlotLife::kTemporary ? "TEMPORARY" : "",
                  snapshot == Snapshot::kExport ? "EXPORT_SNAPSHOT" : "NOEXPORT_SNAPSHOT");
  TRY(auto rows, connection_.query(sql));
  if (rows.size() != 1) return failure(Code::kInternal, "the slot's creation gave no row");
  TRY(const auto point, parse_lsn(rows.text(0, 1)));
  return CreatedSlot{.consistent_point = point, .snapshot = rows.str(0, 2)};
}

Result<void> ReplicationConnection::start(const StreamStart& start) {
  const auto sql = fmt::format("START_REPLICATION SLOT {} LOGICAL {} ({}, publication_names {})",
                               quote_ident(start.slot), format_lsn(start.from),
                               plugin_options(connection_.server_version()),
                               quote_literal(quote_ident(start.publication)));
  TRY(auto rows, connection_.query(sql));
  if (PQresultStatus(rows.result_.get()) == PGRES_COPY_BOTH) return {};
  return failure(Code::kInternal, "the server did not start streaming");
}

Result<StreamMessage> ReplicationConnection::read(Duration timeout) {
  PGconn* conn = connection_.conn_.get();
  for (int attempt = 0; attempt < 2; ++attempt) {
    char* data = nullptr;
    const int length = PQgetCopyData(conn, &data, 1);
    connection_.copy_buffer_ = {data, &PQfreemem};
    if (length > 0) return parse({data, static_cast<std::size_t>(length)});
    if (length == -2) return connection_.lost();
    if (length == -1) {
      TRY_VOID(connection_.drain());
      return failure(Code::kUnavailable, "the server ended the stream", Retry::kSafe);
    }
    if (attempt == 0) TRY_VOID(wait_readable(timeout));
  }
  return StreamMessage();
}

Result<void> ReplicationConnection::wait_readable(Duration timeout) {
  PGconn* conn = connection_.conn_.get();
  pollfd poll_fd{PQsocket(conn), POLLIN, 0};
  if (poll(&poll_fd, 1, static_cast<int>(to_ms(timeout))) <= 0) return {};
  if (PQconsumeInput(conn) != 1) return connection_.lost();
  return {};
}

Result<StreamMessage> ReplicationConnection::parse(std::string_view bytes) const {
  if (bytes[0] == 'w' && bytes.size() >= 25) {
    return XLogData{.start = Lsn(get64(bytes, 1)),
                    .wal_end = Lsn(get64(bytes, 9)),
                    .payload = bytes.substr(25)};
  }
  if (bytes[0] == 'k' && bytes.size() >= 18) {
    return Keepalive{.wal_end = Lsn(get64(bytes, 1)), .reply_requested = bytes[17] != 0};
  }
  return failure(Code::kCorruption, "unknown message in the replication stream");
}

Result<void> ReplicationConnection::send_feedback(const Feedback& feedback) {
  std::string message = "r";
  put64(message, feedback.written.value());
  put64(message, feedback.flushed.value());
  put64(message, feedback.applied.value());
  put64(message, static_cast<std::uint64_t>(postgres_now()));
  message += '\0';
  PGconn* conn = connection_.conn_.get();
  if (PQputCopyData(conn, message.data(), static_cast<int>(message.size())) != 1 ||
      PQflush(conn) < 0) {
    return connection_.lost();
  }
  return {};
}

}  // namespace banyan::pg
