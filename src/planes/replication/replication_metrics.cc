#include "planes/replication/replication_metrics.h"

#include <optional>

#include "base/metrics_text.h"

namespace banyan::replication {
namespace {

using nlohmann::json;

struct Gauge {
  const char* name;
  const char* help;
  const char* field;  // of the status: a number, or a text
  const char* text;   // 1 when the text is this one, else 0
  double scale = 1;
};

constexpr Gauge kGauges[] = {
    {"banyan_replicate_following", "1 while the copy is done and changes are followed.", "/state",
     "following"},
    {"banyan_replicate_lag_bytes", "Log of the active side that is not applied yet.",
     "/stream/lag_bytes", ""},
    {"banyan_replicate_lag_seconds", "Age of what is applied.", "/stream/lag_ms", "", 1e-3},
    {"banyan_replicate_spool_bytes", "Received changes on this disk.", "/stream/spool/bytes", ""},
    {"banyan_replicate_spool_unread_bytes", "Of these, not read yet.", "/stream/spool/unread_bytes",
     ""},
    {"banyan_replicate_spool_segments", "Files they are in.", "/stream/spool/segments", ""},
    {"banyan_replicate_spool_only_copy", "1 while the source may forget what is only spooled.",
     "/stream/spool/confirm", "spooled"},
    {"banyan_replicate_kept_wal_bytes", "Log the slot makes the active side keep.",
     "/wal/kept_bytes", ""},
    {"banyan_replicate_rows", "Rows of both sides that are compared.", "/proven/rows", ""},
    {"banyan_replicate_unproven_rows", "Of these, at most so many are not proven equal.",
     "/proven/unproven_rows", ""},
    {"banyan_replicate_switch_differs", "1 while the sides are known to have differed at a switch.",
     "/proof/state", "different"},
};

std::optional<double> value_of(const Gauge& gauge, const json& status) {
  const json::json_pointer field(gauge.field);
  if (!status.contains(field)) return std::nullopt;
  const json& value = status.at(field);
  if (value.is_number()) return value.get<double>() * gauge.scale;
  return value == gauge.text ? 1 : 0;
}

}  // namespace

std::string metrics_text(const std::map<std::string, json>& statuses) {
  MetricsText text;
  for (const auto& gauge : kGauges) {
    text.family(gauge.name, "gauge", gauge.help);
    for (const auto& [migration, status] : statuses) {
      const auto value = value_of(gauge, status);
      if (value) text.sample(MetricsText::label("migration", migration), *value);
    }
  }
  return text.take();
}

}  // namespace banyan::replication
