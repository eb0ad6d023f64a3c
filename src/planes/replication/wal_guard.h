#pragma once
// WalGuard: what a migration's slot makes its server keep, and when somebody has to be told.
//
// A slot keeps the write-ahead log from its restart position on; a server with a limit
// (max_slot_wal_keep_size, PostgreSQL 13 and newer) drops the log beyond it, and then the slot is
// lost: the migration has to be repaired. wal_status and safe_wal_size are those of
// pg_replication_slots.

#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "wire/pg/connection.h"

namespace banyan::replication {

struct WalStanding {
  std::string slot;
  std::string status;                      // reserved, extended, unreserved, lost; empty before 13
  std::int64_t kept_bytes = 0;             // from the slot's restart position to the log's end
  std::optional<std::int64_t> safe_bytes;  // until the slot is in danger; nothing without a limit
  std::int64_t unconfirmed_bytes = 0;      // to the log's end, from what the slot may forget
  friend bool operator==(const WalStanding&, const WalStanding&) = default;
};

// Of the slot made of `stem` (slots.h); nothing when there is none.
Result<std::optional<WalStanding>> read_wal_standing(pg::Connection& db, const std::string& stem);

// What is wrong and what to do, in one sentence; empty: nothing. From half of a limit on, or from
// 16 GB where there is no limit but the disk.
std::string wal_alarm(const WalStanding& standing);

// Whether the source keeps so much that it should forget what is only spooled yet: more than
// `limit` bytes, or with 0 half of the server's own limit, or 8 GB where it has none.
bool wants_release(const WalStanding& standing, std::int64_t limit);
// Whether as much of it is not even received: then a copy should leave the source to that.
bool is_receiving_behind(const WalStanding& standing, std::int64_t limit);

}  // namespace banyan::replication
