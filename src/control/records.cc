#include "control/records.h"

#include <algorithm>

namespace banyan::control {

using migration::Side;
using nlohmann::json;

namespace {

json to_json(const MigrationRecord& r) {
  return {{"created", r.created},      {"assessed", r.assessed},
          {"cancelled", r.cancelled},  {"completed", r.completed},
          {"removed", r.removed},      {"ever_switched", r.ever_switched},
          {"side", side_name(r.side)}, {"verified_at_ms", r.verified_at_ms},
          {"verified", r.verified},    {"adoption", r.adoption},
          {"accepted", r.accepted}};
}

MigrationRecord from_json(const json& in) {
  return {.created = in.value("created", false),
          .assessed = in.value("assessed", false),
          .cancelled = in.value("cancelled", false),
          .completed = in.value("completed", false),
          .removed = in.value("removed", true),
          .ever_switched = in.value("ever_switched", false),
          .side = in.value("side", "old") == "new" ? Side::kNew : Side::kOld,
          .verified_at_ms = in.value("verified_at_ms", std::int64_t{0}),
          .verified = in.value("verified", json()),
          .adoption = in.value("adoption", json()),
          .accepted = in.value("accepted", json::array())};
}

constexpr std::string_view kMigrationPrefix = "migration/";

std::string key_of(const std::string& name) {
  return std::string(kMigrationPrefix) + name;
}

}  // namespace

std::string ending_command(const MigrationRecord& record, const std::string& name) {
  if (record.cancelled) return "banyan migrate cancel " + name;
  return "banyan migrate complete " + name + " --confirm " + name;
}

Result<void> require_under_way(const MigrationRecord& record, const std::string& name) {
  if (record.is_under_way()) return {};
  const auto refuse = [&](const std::string& why, const std::string& way) {
    return std::unexpected(Error(Code::kConflict, name + " " + why).with_remedy(way));
  };
  if (record.is_ending()) return refuse("is being ended", ending_command(record, name));
  if (record.completed) return refuse("is completed", "banyan migrate report " + name);
  return refuse(record.cancelled ? "is cancelled" : "was not created",
                "banyan migrate create " + name);
}

Result<std::int64_t> Records::next_epoch(std::int64_t seen) {
  TRY(const auto stored, store_.get("epoch"));
  const std::int64_t last = stored ? stored->value.get<std::int64_t>() : 0;
  const std::int64_t next = std::max(last, seen) + 1;
  TRY([[maybe_unused]] const auto version,
      store_.compare_and_swap("epoch", stored ? stored->version : 0, next));
  return next;
}

Result<MigrationRecord> Records::migration(const std::string& name) {
  TRY(const auto stored, store_.get(key_of(name)));
  return stored ? from_json(stored->value) : MigrationRecord{};
}

Result<MigrationRecord> Records::change(const std::string& name,
                                        const std::function<void(MigrationRecord&)>& how) {
  while (true) {
    TRY(const auto stored, store_.get(key_of(name)));
    auto record = stored ? from_json(stored->value) : MigrationRecord{};
    how(record);
    const auto kept =
        store_.compare_and_swap(key_of(name), stored ? stored->version : 0, to_json(record));
    if (kept) return record;
    if (kept.error().code() != Code::kConflict) return std::unexpected(kept.error());
  }
}

Result<Sides> Records::sides() {
  Sides sides;
  TRY(const auto keys, store_.keys(kMigrationPrefix));
  for (const std::string& key : keys) {
    const std::string name = key.substr(kMigrationPrefix.size());
    TRY(const auto record, migration(name));
    sides[name] = record.side;
  }
  return sides;
}

Result<std::string> Records::applied() {
  TRY(const auto stored, store_.get("applied"));
  return stored ? stored->value.get<std::string>() : "";
}

Result<void> Records::set_applied(const std::string& hash) {
  return store_.put("applied", hash);
}

}  // namespace banyan::control
