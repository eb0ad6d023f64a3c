// Both sides beside one another: what was compared, what differs, what was written anew.

#include <fmt/format.h>

#include <algorithm>

#include "app/cli.h"
#include "app/views.h"
#include "base/clock.h"

namespace banyan {

using nlohmann::json;

namespace {

constexpr std::size_t kTablesTold = 50;

void print_file_differences(const json& files) {
  for (const char* list : {"different", "unsettled"}) {
    const json shown = files.value(list, json::array());
    for (const json& one : shown)
      fmt::print("  {}: {}\n    on disk    {}\n    in bucket  {}\n", one.value("path", ""),
                 one.value("why", ""), one.value("disk", "?"), one.value("bucket", "?"));
    const long total = files.value(std::string(list) + "_total", 0L);
    if (total > static_cast<long>(shown.size())) fmt::print("  {} {} in all\n", total, list);
  }
}

std::string proven_text(const json& table) {
  const std::string position = table.value("position", "");
  const long rows = table.value("rows", 0L);
  if (position.empty()) return fmt::format("{} rows, not proven", rows);
  const auto when = Wall(std::chrono::milliseconds(table.value("at_ms", 0L)));
  const long unproven = table.value("unproven_rows", 0L);
  return fmt::format("{} rows proven at {}, {}{}", rows, position, rfc3339(when),
                     unproven == 0 ? "" : fmt::format(", {} written since", unproven));
}

// Where each table was last seen equal.
void print_proven(const json& proven) {
  const json tables = proven.value("tables", json::array());
  for (std::size_t at = 0; at < std::min(tables.size(), kTablesTold); at++)
    fmt::print("  {:<32} {}\n", tables[at].value("table", ""), proven_text(tables[at]));
  if (tables.size() > kTablesTold)
    fmt::print("  and {} tables more, see --json\n", tables.size() - kTablesTold);
}

std::string_view verdict_of(const json& out) {
  if (out.value("equal", false)) return "EQUAL. Both sides hold the same.";
  const std::string database = out.value("database", json::object()).value("state", "equal");
  if (database == "failed") return "INCONCLUSIVE. The databases were not compared.";
  if (database == "running") return "INCONCLUSIVE. Still at work; ask again.";
  return "NOT EQUAL.";
}

}  // namespace

void print_differences(const json& tables) {
  for (const json& table : tables)
    for (const json& difference : table.value("differences", json::array()))
      fmt::print("  {} key {}: {} | {}\n", table.value("table", ""),
                 difference.value("key", json()).dump(), difference.value("source", json()).dump(),
                 difference.value("target", json()).dump());
}

void print_verification(const json& out) {
  if (out.contains("database")) {
    const json& database = out["database"];
    print_field(
        "database",
        fmt::format("{}: {} rows in {} tables{}", database.value("state", ""),
                    database.value("rows", 0L), database.value("tables", json::array()).size(),
                    database.value("scope", "all") == "all" ? "" : ", of what was not proven"));
    if (database.contains("error")) print_field("", database.value("error", ""));
    print_ways(stdout, database.value("remedy", ""));
    print_proven(database.value("proven", json::object()));
    print_differences(database.value("tables", json::array()));
  }
  for (const auto& [name, files] : out.value("files", json::object()).items())
    print_field("files " + name,
                fmt::format("{}: {} files, {}", files.value("state", ""), files.value("files", 0L),
                            human_bytes(files.value("bytes", 0.0))));
  for (const auto& [name, files] : out.value("files", json::object()).items())
    print_file_differences(files);
  if (out.contains("sessions"))
    print_field("sessions", fmt::format("{}: {} sessions", out["sessions"].value("state", ""),
                                        out["sessions"].value("sessions", 0L)));
  fmt::print("{}\n", verdict_of(out));
}

void print_repair(const json& out) {
  const std::string state = out.value("state", "");
  for (const json& table : out.value("tables", json::array())) {
    if (state == "repaired") {
      print_field(table.value("table", ""),
                  fmt::format("{} rows written, {} removed{}", table.value("written", 0L),
                              table.value("removed", 0L),
                              table.value("whole", false) ? " (copied anew)" : ""));
    } else {
      print_field(table.value("table", ""),
                  fmt::format("{}{} rows differ", table.value("differences", json::array()).size(),
                              table.value("more", false) ? " or more" : ""));
    }
  }
  if (state == "failed") {
    fmt::print("FAILED. {}\n", out.value("error", ""));
    print_ways(stdout, out.value("remedy", ""));
  }
  if (state == "equal") fmt::print("EQUAL. There is nothing to repair.\n");
  if (state == "different") fmt::print("Dry run: nothing was written.\n");
  if (state == "running") fmt::print("Still at work; ask again.\n");
  if (state == "repaired") {
    fmt::print("REPAIRED{}. The rows were read back.\n",
               out.value("new_slot", false) ? ", and the stream follows from a new slot" : "");
  }
}

}  // namespace banyan
