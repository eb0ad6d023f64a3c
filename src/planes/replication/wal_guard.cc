#include "planes/replication/wal_guard.h"

#include <fmt/format.h>

#include "planes/replication/slots.h"

namespace banyan::replication {
namespace {

constexpr std::int64_t kMega = 1 << 20;
constexpr std::int64_t kUnlimitedMost = std::int64_t{16} << 30;

constexpr std::string_view kStanding = R"sql(
select slot_name, {},
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)::bigint, {},
       pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), confirmed_flush_lsn)::bigint
from pg_catalog.pg_replication_slots
where {}
order by restart_lsn limit 1)sql";

}  // namespace

Result<std::optional<WalStanding>> read_wal_standing(pg::Connection& db, const std::string& stem) {
  const bool has_status = db.server_version() >= 130000;
  const auto sql = fmt::format(kStanding, has_status ? "wal_status" : "''",
                               has_status ? "safe_wal_size" : "null", has_stem(stem));
  TRY(const auto rows, db.query(sql));
  if (rows.empty()) return std::optional<WalStanding>();
  WalStanding standing{.slot = rows.str(0, 0),
                       .status = rows.str(0, 1),
                       .kept_bytes = rows.integer(0, 2),
                       .safe_bytes = {},
                       .unconfirmed_bytes = rows.is_null(0, 4) ? 0 : rows.integer(0, 4)};
  if (!rows.is_null(0, 3)) standing.safe_bytes = rows.integer(0, 3);
  return standing;
}

bool wants_release(const WalStanding& standing, std::int64_t limit) {
  if (limit == 0) limit = standing.safe_bytes.value_or(kUnlimitedMost / 2);
  return standing.kept_bytes > limit;
}

bool is_receiving_behind(const WalStanding& standing, std::int64_t limit) {
  return wants_release(standing, limit) && standing.unconfirmed_bytes > standing.kept_bytes / 2;
}

std::string wal_alarm(const WalStanding& standing) {
  const auto kept = standing.kept_bytes / kMega;
  if (standing.status == "lost") {
    return fmt::format(
        "the server has dropped log that slot {} needs: repair the migration, and raise "
        "max_slot_wal_keep_size before",
        standing.slot);
  }
  if (standing.status == "unreserved") {
    return fmt::format(
        "slot {} keeps {} MB, over max_slot_wal_keep_size: the next checkpoint may drop them; "
        "raise "
        "it now",
        standing.slot, kept);
  }
  if (standing.safe_bytes && standing.kept_bytes > *standing.safe_bytes) {
    return fmt::format(
        "slot {} keeps {} MB, and after {} MB more the server drops them: see why applying is "
        "behind, "
        "or raise max_slot_wal_keep_size",
        standing.slot, kept, *standing.safe_bytes / kMega);
  }
  if (!standing.safe_bytes && standing.kept_bytes > kUnlimitedMost) {
    return fmt::format(
        "slot {} keeps {} MB of log on the server's disk: see why applying is behind",
        standing.slot, kept);
  }
  return {};
}

}  // namespace banyan::replication
