#pragma once
// The slots of a stream: a stem that tells whose they are, and a nonce of eight hexadecimal digits.

#include <string>
#include <variant>

#include "planes/replication/log_record.h"
#include "wire/pg/replication.h"

namespace banyan::replication {

// `words` joined to a stem, as far as a slot's name takes them.
std::string slot_stem(const std::string& prefix, const std::string& owner, std::string_view what);
std::string new_slot_name(const std::string& stem);
// SQL: true of the names made of `stem`.
std::string has_stem(const std::string& stem);

// Those that nobody reads.
Result<void> drop_idle_slots(pg::ReplicationConnection& connection, const std::string& stem);
// All of them; a sender that was just left takes a moment to notice.
Result<void> drop_slots(pg::ReplicationConnection& connection, const std::string& stem);

// Where a stream begins: what committed before `point` is in `snapshot`, which lives as long as
// `session` does, all that commits later is sent by the slot.
struct SlotStart {
  LogIdentity slot;
  pg::Lsn point;
  std::string snapshot;
  std::variant<std::monostate, pg::ReplicationConnection, pg::Connection> session;
};
// A new slot, after idle ones of its stem were dropped.
Result<SlotStart> make_slot(const std::string& url, const std::string& stem, pg::Snapshot snapshot);

}  // namespace banyan::replication
