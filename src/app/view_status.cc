// Where a migration stands: `migrate status`, `report`, `throttle`.

#include <fmt/format.h>

#include <utility>

#include "app/cli.h"
#include "app/views.h"

namespace banyan {

using nlohmann::json;

namespace {

// Who makes a shared slot keep more than the others would.
std::string held_by(const json& stream) {
  constexpr double kWorthTelling = 64e6;
  for (const json& one : stream.value("shared_with", json::array())) {
    const double behind = one.value("behind_bytes", kWorthTelling);
    if (one.value("holds", false) && behind >= kWorthTelling)
      return fmt::format(", shared slot held by {}", one.value("migration", "?"));
  }
  return "";
}

std::string database_line(const json& database) {
  if (database.contains("error") && !database["error"].is_null())
    return fmt::format("{}: {}", database.value("state", "?"), database.value("error", "?"));
  const double done = database.value("copied_bytes", 0.0);
  const double total = database.value("total_bytes", 0.0);
  std::string line = fmt::format("{}, {} tables", database.value("state", "?"),
                                 database.value("tables", json::array()).size());
  if (database.value("state", "") == "copying")
    return line + fmt::format(", {} of {}, {} left", human_bytes(done), human_bytes(total),
                              human_seconds(database.value("eta_s", 0.0)));
  const json stream = database.value("stream", json::object());
  const json spool = stream.value("spool", json::object());
  const std::string only_copy =
      spool.value("confirm", "") == "spooled"
          ? fmt::format(", {} only in the spool", human_bytes(spool.value("bytes", 0.0)))
          : "";
  return line + fmt::format(", lag {} ms{}{}, {} serves", database.value("lag_ms", 0L), only_copy,
                            held_by(stream), database.value("active", "old"));
}

std::string files_line(const json& files) {
  if (const std::string error = files.value("error", ""); !error.empty())
    return fmt::format("{}: {}", files.value("state", "?"), error);
  return fmt::format("{}, {} of {} files, {}, {} behind", files.value("state", "?"),
                     files.value("files_done", 0L), files.value("files_total", 0L),
                     human_bytes(files.value("bytes_done", 0.0)), files.value("dirty", 0L));
}

// What deserves a look even when the gates are green.
void print_alarms(const json& database) {
  for (const json& alarm : database.value("tripwire", json::array()))
    fmt::print("ALARM: {} {} on the closed {} side, not carried over: {}\n",
               alarm.value("operation", ""), alarm.value("table", ""), alarm.value("side", ""),
               alarm.value("row", ""));
  const json spool = database.value("/stream/spool"_json_pointer, json::object());
  if (spool.contains("alarm"))
    fmt::print("ALARM: {}\n{}\n", spool.value("alarm", ""), spool.value("remedy", ""));
  if (const json copies = database.value("copies", json::object()); copies.is_object())
    print_names("copies", copies.value("tables", json::array()));
  print_names("left out", database.value("left_out", json::array()));
}

// How much is proven, and what of it the last switch still owes.
void print_proof(const json& database) {
  const json proven = database.value("proven", json::object());
  if (!proven.value("tables", json::array()).empty()) {
    const long rows = proven.value("rows", 0L);
    const long unproven = proven.value("unproven_rows", 0L);
    print_field("proof", fmt::format("{} of {} rows proven equal, {} not yet", rows - unproven,
                                     rows, unproven));
  }
  const json proof = database.value("proof", json::object());
  const std::string state = proof.value("state", "none");
  if (state == "equal")
    print_field("switch", fmt::format("proven: {} rows compared since", proof.value("rows", 0L)));
  if (state == "running" || state == "failed")
    print_field("switch", "both sides are being compared in the background");
  if (state != "different") return;
  fmt::print("ALARM: the sides differed at the switch\n");
  print_differences(proof.value("tables", json::array()));
  fmt::print("{}\n", proof.value("remedy", ""));
}

// Who was seen writing to the moved tables, and what each is to this project.
void print_writers(const json& database) {
  const char* label = "writers";
  for (const json& writer : database.value("writers", json::array()))
    print_field(std::exchange(label, ""),
                fmt::format("{}: {} {} {}@{}, {} times, {}", writer.value("kind", "?"),
                            writer.value("application", ""), writer.value("program", ""),
                            writer.value("role", ""), writer.value("address", ""),
                            writer.value("seen", 0L), writer.value("table", "")));
}

void print_admission(const json& out) {
  if (const json adoption = out.value("adoption", json()); adoption.is_object())
    print_field("adopted", fmt::format("{} of {} requests compared equal through the gateway",
                                       adoption.value("equal", 0), adoption.value("wanted", 0)));
  for (const json& finding : out.value("accepted", json::array()))
    print_field("accepted",
                fmt::format("{}: {}", finding.value("id", ""), finding.value("detail", "")));
}

}  // namespace

std::string progress_line(const json& out) {
  std::string line =
      fmt::format("{}  database {}", out.value("state", ""), database_line(out.at("database")));
  for (const auto& [name, files] : out.at("files").items())
    line += fmt::format(" | {} {}", name, files_line(files));
  return line;
}

void print_gates(const json& gates) {
  for (const json& gate : gates)
    fmt::print("  {} {:<24} {}\n", gate.value("green", false) ? "ok  " : "no  ",
               gate.value("name", ""), gate.value("seen", ""));
}

void print_status(const json& out) {
  fmt::print("{}  {}   ({} side serves)\n", out.value("name", ""), out.value("state", ""),
             out.value("serves", ""));
  const std::string state = out.value("state", "");
  if (out.value("created", false) && state != "CANCELLED" && state != "COMPLETED") {
    print_admission(out);
    print_field("database", database_line(out.at("database")));
    print_ways(stdout, out.at("database").value("remedy", ""));
    for (const auto& [name, files] : out.at("files").items())
      print_field("files " + name, files_line(files));
    if (!out.at("sessions").is_null())
      print_field("sessions", fmt::format("{} of {} carried", out["sessions"].value("carried", 0L),
                                          out["sessions"].value("sessions", 0L)));
    print_writers(out.at("database"));
    print_proof(out.at("database"));
    print_alarms(out.at("database"));
    fmt::print("before the next act:\n");
    print_gates(out.at("gates"));
  }
  fmt::print("Next: {}\n", out.value("next", ""));
}

void print_report(const json& out) {
  print_status(out);
  fmt::print("acts:\n");
  for (const json& event : out.at("events")) print_event(event);
}

void print_throttle(const json& out) {
  const auto limit = out.value("bytes_per_s", 0L);
  print_field("Limit", limit == 0 ? "none" : fmt::format("{} MB/s", limit / 1'000'000));
  for (const json& reason : out.value("reasons", json::array())) {
    print_field("Held", reason.get<std::string>());
  }
}

}  // namespace banyan
