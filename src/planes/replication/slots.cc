#include "planes/replication/slots.h"

#include <fmt/format.h>

#include <random>
#include <thread>

#include "base/clock.h"

namespace banyan::replication {
namespace {

constexpr int kDropTries = 100;
constexpr auto kBetweenDrops = 50ms;
constexpr std::size_t kOwnerMost = 45;
constexpr int kNonceDigits = 8;

}  // namespace

std::string slot_stem(const std::string& prefix, const std::string& owner, std::string_view what) {
  std::string stem = prefix;
  for (const char c : owner) {
    const bool is_plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    stem += is_plain ? c : '_';
  }
  return fmt::format("{}_{}_", stem.substr(0, kOwnerMost), what);
}

std::string new_slot_name(const std::string& stem) {
  std::random_device device;
  return fmt::format("{}{:0{}x}", stem, device(), kNonceDigits);
}

std::string has_stem(const std::string& stem) {
  return fmt::format(
      "pg_catalog.strpos(slot_name::text, {}) = 1 and pg_catalog.length(slot_name::text) = {}",
      pg::quote_literal(stem), stem.size() + kNonceDigits);
}

Result<void> drop_idle_slots(pg::ReplicationConnection& connection, const std::string& stem) {
  TRY_VOID(connection.query(
      "select pg_catalog.pg_drop_replication_slot(slot_name) from pg_catalog.pg_replication_slots "
      "where not active and " +
      has_stem(stem)));
  return {};
}

Result<void> drop_slots(pg::ReplicationConnection& connection, const std::string& stem) {
  for (int attempt = 0; attempt < kDropTries; ++attempt) {
    TRY_VOID(drop_idle_slots(connection, stem));
    TRY(const auto left,
        connection.query("select 1 from pg_catalog.pg_replication_slots where " + has_stem(stem)));
    if (left.empty()) return {};
    std::this_thread::sleep_for(kBetweenDrops);
  }
  return failure(Code::kUnavailable, "a slot of the migration is still being read", Retry::kSafe);
}

Result<SlotStart> make_slot(const std::string& url, const std::string& stem,
                            pg::Snapshot snapshot) {
  TRY(auto connection, pg::ReplicationConnection::open(url, "banyan_slot"));
  TRY(const auto server, connection.identify());
  TRY_VOID(drop_idle_slots(connection, stem));
  const auto name = new_slot_name(stem);
  TRY(auto slot, with_context(connection.create_slot(name, snapshot), "creating the slot " + name));
  return SlotStart{
      .slot = {.slot = name, .system_id = server.system_id, .timeline = server.timeline},
      .point = slot.consistent_point,
      .snapshot = std::move(slot.snapshot),
      .session = std::move(connection)};
}

}  // namespace banyan::replication
