// What the verb `status` says of an engine.
#include <fmt/format.h>

#include <algorithm>
#include <ranges>

#include "planes/replication/engine_shared.h"

namespace banyan::replication {
namespace {

std::string_view table_state_name(TableState state) {
  switch (state) {
    case TableState::kWaiting:
      return "waiting";
    case TableState::kCopying:
      return "copying";
    case TableState::kCopied:
      return "copied";
  }
  return "";
}

std::string_view stream_state_name(StreamState state) {
  switch (state) {
    case StreamState::kStopped:
      return "stopped";
    case StreamState::kRunning:
      return "running";
    case StreamState::kWaiting:
      return "waiting";
    case StreamState::kFailed:
      return "failed";
  }
  return "";
}

nlohmann::json misfit_json(const Misfit& misfit) {
  return {{"table", misfit.table},
          {"operation", misfit.operation},
          {"lsn", misfit.lsn},
          {"key", misfit.key},
          {"source", misfit.here},
          {"target", misfit.there ? nlohmann::json(*misfit.there) : nlohmann::json(nullptr)}};
}

nlohmann::json ddl_json(const DdlNote& note) {
  return {{"lsn", pg::format_lsn(note.commit)},
          {"at", note.entry.at},
          {"who", note.entry.who},
          {"application", note.entry.application},
          {"tag", note.entry.tag},
          {"object", note.entry.object},
          {"statement", note.entry.statement},
          {"verdict", note.verdict}};
}

// The one that has least holds what the slot keeps; of one that was not heard of nothing is known.
nlohmann::json readers_json(const StreamStatus& status) {
  const auto by_durable = [](const auto& reader) { return reader.second.durable; };
  const auto least = std::ranges::min(status.readers | std::views::transform(by_durable));
  auto list = nlohmann::json::array();
  for (const auto& [migration, reading] : status.readers) {
    auto& one = list.emplace_back(nlohmann::json{{"migration", migration}});
    one["holds"] = reading.durable == least;
    if (reading.durable == pg::Lsn()) continue;
    one["durable_lsn"] = pg::format_lsn(reading.durable);
    one["behind_bytes"] = std::max<std::int64_t>(
        0, static_cast<std::int64_t>(status.received.value() - reading.durable.value()));
  }
  return list;
}

nlohmann::json spool_json(const LogStanding& spool, std::uint64_t in_progress, bool is_only_copy) {
  return {{"bytes", spool.bytes},
          {"unread_bytes", spool.unread},
          {"segments", spool.segments},
          {"in_progress", in_progress},
          {"confirm", is_only_copy ? "spooled" : "applied"}};
}

nlohmann::json stream_json(const Stream* stream) {
  if (stream == nullptr) return {{"running", false}, {"lag_bytes", 0}};
  const auto status = stream->status();
  nlohmann::json json = {{"running", status.state == StreamState::kRunning},
                         {"state", stream_state_name(status.state)},
                         {"lag_bytes", status.lag_bytes},
                         {"lag_ms", status.lag_ms},
                         {"applied_lsn", pg::format_lsn(status.applied)},
                         {"received_lsn", pg::format_lsn(status.received)},
                         {"transactions", status.transactions},
                         {"rows", status.rows},
                         {"batches", status.batches},
                         {"batches_row_by_row", status.batches_row_by_row},
                         {"batches_beside", status.batches_beside},
                         {"batches_again", status.batches_again}};
  json["spool"] = spool_json(status.spool, status.in_progress, status.is_only_copy);
  if (status.full) {
    json["spool"]["alarm"] = status.full->alarm;
    json["spool"]["remedy"] = status.full->remedy;
  }
  if (!status.readers.empty()) json["shared_with"] = readers_json(status);
  if (status.misfit) json["misfit"] = misfit_json(*status.misfit);
  for (const auto& note : status.ddl) json["ddl"].push_back(ddl_json(note));
  if (status.error) json["error"] = status.error->message();
  return json;
}

void add_alarms(nlohmann::json& list, const Stream* stream, std::string_view side) {
  if (stream == nullptr) return;
  for (const auto& alarm : stream->status().alarms) {
    list.push_back({{"side", side},
                    {"table", alarm.table},
                    {"operation", alarm.operation},
                    {"row", alarm.row},
                    {"xid", alarm.xid},
                    {"lsn", alarm.lsn}});
  }
}

}  // namespace

nlohmann::json Engine::early_json() const {
  const auto [feed, start] = shared_->early.with([](const auto& now) { return now; });
  if (!feed) return nullptr;
  const bool is_only_copy = feed->signals().confirmed > start.value();
  return spool_json(feed->log().standing(config_.name), 0, is_only_copy);
}

nlohmann::json Engine::wal_json(SideName active) const {
  const auto standing =
      shared_->wal.with([&](const auto& wal) { return wal[static_cast<std::size_t>(active)]; });
  if (!standing) return nlohmann::json::object();
  nlohmann::json json = {
      {"slot", standing->slot}, {"status", standing->status}, {"kept_bytes", standing->kept_bytes}};
  if (standing->safe_bytes) json["safe_bytes"] = *standing->safe_bytes;
  if (const auto alarm = wal_alarm(*standing); !alarm.empty()) json["alarm"] = alarm;
  return json;
}

// What is left divided by the last minute's rate, in bytes and in rows; the slower of the two
// counts.
void Engine::add_copy(nlohmann::json& json) const {
  std::int64_t copied = 0;
  std::int64_t total = 0;
  std::int64_t rows_left = 0;
  auto& tables = json["tables"] = nlohmann::json::array();
  shared_->tables.with([&](const CopyProgress& all) {
    for (const auto& [name, table] : all) {
      rows_left += std::max<std::int64_t>(0, table.rows_estimate - table.rows);
      const bool is_copied = table.state == TableState::kCopied;
      const auto bytes = is_copied ? table.bytes_total : std::min(table.bytes, table.bytes_total);
      copied += bytes;
      total += table.bytes_total;
      tables.push_back({{"table", name},
                        {"state", table_state_name(table.state)},
                        {"rows_estimate", table.rows_estimate},
                        {"rows_copied", table.rows},
                        {"bytes", bytes}});
    }
  });
  json["copied_bytes"] = copied;
  json["total_bytes"] = total;
  json["throttle"] = shared_->throttle.status();
  const auto rate = shared_->rate.with([](const CopyRate& rate) { return rate.per_second(); });
  json["bytes_per_s"] = static_cast<std::int64_t>(rate.bytes);
  json["rows_per_s"] = static_cast<std::int64_t>(rate.rows);
  const auto seconds = [](std::int64_t left, double per_second) -> std::int64_t {
    return left > 0 && per_second > 0
               ? static_cast<std::int64_t>(static_cast<double>(left) / per_second)
               : 0;
  };
  json["eta_s"] = copied < total
                      ? std::max(seconds(total - copied, rate.bytes), seconds(rows_left, rate.rows))
                      : 0;
}

nlohmann::json Engine::status(SideName active) const {
  nlohmann::json json;
  std::optional<Error> error;
  std::optional<Error> schema_error;
  bool has_caught_up = false;
  shared_->report.with([&](const Shared::Report& report) {
    json["state"] = report.state;
    error = report.error;
    has_caught_up = report.has_caught_up;
    schema_error = report.schema_errors[static_cast<std::size_t>(active)];
    if (!schema_error && !config_.copies.empty()) {
      schema_error = report.schema_errors[static_cast<std::size_t>(SideName::kOld)];
    }
  });
  add_copy(json);
  const Stream* forward = stream(active);
  const auto following = stream_json(forward);
  json["lag_ms"] = following.value("lag_ms", 0);
  json["lag_bytes"] = following["lag_bytes"];
  json["stream"] = following;
  if (const auto early = early_json(); !early.is_null()) json["stream"]["spool"] = early;
  json["wal"] = wal_json(active);
  json["reverse"] = stream_json(stream(other_side(active)));
  if (!config_.copies.empty()) {
    json["copies"] = {{"tables", config_.copies}, {"stream", stream_json(stream(SideName::kOld))}};
  }
  if (!config_.left_out.empty()) json["left_out"] = config_.left_out;
  auto& tripwire = json["tripwire"] = nlohmann::json::array();
  add_alarms(tripwire, stream(SideName::kOld), "old");
  add_alarms(tripwire, stream(SideName::kNew), "new");
  const Stream* copying = active == SideName::kNew ? stream(SideName::kOld) : nullptr;
  if (!config_.copies.empty() && copying != nullptr) {
    const auto status = copying->status();
    if (status.state == StreamState::kFailed) json["state"] = "failed";
    if (status.error) error = status.error;
  }
  if (forward != nullptr) {
    const auto status = forward->status();
    if (status.lag_ms > 5000 && !has_caught_up && json["state"] == "following") {
      json["state"] = "catching_up";
    } else if (json["state"] == "following") {
      shared_->report.change([](Shared::Report& report) { report.has_caught_up = true; });
    }
    if (status.state == StreamState::kFailed) json["state"] = "failed";
    if (status.error) error = status.error;
  }
  if (schema_error) {
    json["state"] = "failed";
    json["error"] = schema_error->message();
    json["remedy"] = schema_error->remedy();
  } else if (error) {
    json["error"] = error->message();
    json["remedy"] = error->remedy();
    const bool has_ways = error->remedy().find("migrate repair") != std::string::npos;
    if (!has_ways && forward != nullptr && forward->status().state == StreamState::kFailed) {
      json["remedy"] = fmt::format(
          "{} To go on from a new slot, copying only what differs: banyan migrate repair {}",
          error->remedy(), config_.name);
    }
  }
  return json;
}

}  // namespace banyan::replication
