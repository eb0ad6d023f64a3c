#pragma once
// ReplicationConnection: logical replication's commands and its stream of messages.
//
// One thread at a time. A slot's exported snapshot lives until the next command or the end of the
// connection. read() never blocks beyond its timeout; the caller answers keepalives with feedback.

#include <chrono>
#include <string>
#include <string_view>
#include <variant>

#include "wire/pg/connection.h"

namespace banyan::pg {

enum class Snapshot : std::uint8_t { kNone, kExport };
enum class SlotLife : std::uint8_t { kPermanent, kTemporary };

struct CreatedSlot {
  Lsn consistent_point;
  std::string snapshot;  // empty with Snapshot::kNone
};

struct SystemIdentity {
  std::string system_id;
  std::string timeline;
  Lsn flushed;
};

struct StreamStart {
  std::string slot;
  std::string publication;
  Lsn from;
};

// A piece of the output plugin's stream; the payload lives until the next read().
struct XLogData {
  Lsn start;
  Lsn wal_end;
  std::string_view payload;
};
struct Keepalive {
  Lsn wal_end;
  bool reply_requested = false;
};
// monostate: nothing came within the timeout.
using StreamMessage = std::variant<std::monostate, XLogData, Keepalive>;

struct Feedback {
  Lsn written;
  Lsn flushed;  // what the server may forget
  Lsn applied;
};

class ReplicationConnection {
 public:
  static Result<ReplicationConnection> open(std::string_view conninfo_or_url,
                                            std::string application_name);

  Result<SystemIdentity> identify();
  Result<CreatedSlot> create_slot(const std::string& name, Snapshot snapshot,
                                  SlotLife life = SlotLife::kPermanent);
  // Plain SQL, until start().
  Result<Rows> query(const std::string& sql) { return connection_.query(sql); }
  Result<void> start(const StreamStart& start);
  Result<StreamMessage> read(Duration timeout);
  Result<void> send_feedback(const Feedback& feedback);
  const std::string& last_sqlstate() const { return connection_.last_sqlstate(); }

 private:
  explicit ReplicationConnection(Connection connection) : connection_(std::move(connection)) {}
  Result<StreamMessage> parse(std::string_view bytes) const;
  Result<void> wait_readable(Duration timeout);

  Connection connection_;
};

}  // namespace banyan::pg
