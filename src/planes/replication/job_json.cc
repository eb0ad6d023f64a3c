#include "planes/replication/job_json.h"

namespace banyan::replication {
using nlohmann::json;

namespace {

constexpr std::size_t kDifferencesTold = 20;

json optional_text(const std::optional<std::string>& text) {
  return text ? json(*text) : json(nullptr);
}

}  // namespace

json to_json(const TableVerdict& table) {
  json differences = json::array();
  for (const auto& difference : table.differences) {
    if (differences.size() == kDifferencesTold) break;
    differences.push_back({{"key", difference.key},
                           {"source", optional_text(difference.source)},
                           {"target", optional_text(difference.target)}});
  }
  return {{"table", table.table},   {"table_there", table.table_there},
          {"rows", table.rows},     {"equal", table.equal},
          {"more", table.has_more}, {"differences", std::move(differences)}};
}

json to_json(const Verdict& verdict) {
  json tables = json::array();
  for (const auto& table : verdict.tables) tables.push_back(to_json(table));
  return {{"state", verdict.equal ? "equal" : "different"},
          {"tables", std::move(tables)},
          {"rows", verdict.rows}};
}

json to_json(const RepairReport& report) {
  json tables = json::array();
  std::int64_t written = 0;
  for (const auto& table : report) {
    written += table.written;
    tables.push_back({{"table", table.table},
                      {"table_there", table.table_there},
                      {"written", table.written},
                      {"removed", table.removed},
                      {"whole", table.is_whole}});
  }
  return {{"state", "repaired"}, {"tables", std::move(tables)}, {"rows", written}};
}

json to_json(const Standing& standing) {
  return {{"active", side_name(standing.active)},
          {"act", act_state_name(standing.act)},
          {"epoch", standing.epoch.value()}};
}

}  // namespace banyan::replication
