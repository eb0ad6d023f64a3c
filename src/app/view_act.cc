// An act and its end: refused, moved, aborted, cancelled, completed.

#include <fmt/format.h>

#include <cstdlib>

#include "app/cli.h"
#include "app/views.h"

namespace banyan {

using nlohmann::json;

namespace {

std::string note_of(const json& event) {
  const json& detail = event.at("detail");
  if (!detail.value("ok", true)) return "failed: " + detail.value("error", "");
  const std::string step = event.value("step", "");
  if (step == "fence") return "last commit " + detail.value("barrier_lsn", "");
  if (step == "sequences") return fmt::format("{} sequences set", detail.value("count", 0L));
  if (step == "check") return fmt::format("{} rows compared equal", detail.value("rows", 0L));
  if (step == "sessions") return fmt::format("{} sessions", detail.value("sessions", 0L));
  if (step == "release")
    return fmt::format("{} held, longest {} ms, {} refused, {} failed", detail.value("held", 0L),
                       detail.value("longest_hold_ms", 0L), detail.value("refused", 0L),
                       detail.value("failed", 0L));
  return detail.value("note", "");
}

constexpr long kMsOfDay = 24L * 3600 * 1000;

// Of "2026-11-21T11:08:28.665Z".
long ms_of_day(const std::string& time) {
  if (time.size() < 23) return 0;
  const auto number = [&](std::size_t at, std::size_t digits) {
    return std::strtol(time.substr(at, digits).c_str(), nullptr, 10);
  };
  return ((number(11, 2) * 60 + number(14, 2)) * 60 + number(17, 2)) * 1000 + number(20, 3);
}

// A label before the first line of a text, and its further lines below.
void print_lines(std::string_view label, std::string_view text) {
  while (!text.empty()) {
    const auto end = text.find('\n');
    fmt::print("         {:<6} {}\n", label, text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    label = "";
  }
}

void print_finding(const json& finding) {
  fmt::print("  must   {:<24} {}\n", finding.value("id", ""), finding.value("title", ""));
  print_lines("found", finding.value("detail", ""));
  print_lines("fix", finding.value("fix_sql", ""));
}

}  // namespace

void print_refusal(const json& out) {
  const std::string create = "banyan migrate create " + out.value("name", "");
  std::string accept;
  bool may_go_on = true;
  fmt::print("REFUSED, nothing was started (exit 3).\n");
  for (const json& finding : out.at("open")) {
    print_finding(finding);
    accept += " --accept " + finding.value("id", "");
    may_go_on = may_go_on && finding.value("acceptable", true);
  }
  fmt::print("  1  repair what was found, then: {}\n", create);
  if (may_go_on) fmt::print("  2  go on despite it:  {}{}\n", create, accept);
}

void print_steps(const json& steps) {
  fmt::print("the act would be:\n");
  int number = 0;
  for (const json& step : steps)
    fmt::print(" {:>2}  {:<12} {}\n", ++number, step.value("step", ""), step.value("does", ""));
}

void print_event(const json& event) {
  if (event.value("kind", "") == "intent" || event.value("step", "") == "act") return;
  const std::string time = event.value("time", "");
  fmt::print(" {}  {:<12} {:>7.1f} ms  {}\n", time.substr(11, 12), event.value("step", ""),
             event.at("detail").value("us", 0.0) / 1000, note_of(event));
  std::fflush(stdout);
}

std::optional<long> closed_ms(const json& events) {
  std::optional<long> fenced;
  std::optional<long> opened;
  for (const json& event : events) {
    if (event.value("kind", "") != "outcome") continue;
    const std::string step = event.value("step", "");
    const long ended = ms_of_day(event.value("time", ""));
    if (step == "fence") fenced = ended - event.at("detail").value("us", 0L) / 1000;
    if (step == "open") opened = ended;
  }
  if (!fenced || !opened) return std::nullopt;
  return *opened - *fenced + (*opened < *fenced ? kMsOfDay : 0);
}

void print_moved(const std::string& name, const std::string& to, const json& out) {
  fmt::print("{}.", to == "new" ? "SWITCHED" : "REVERSED");
  if (out.contains("closed_ms"))
    fmt::print("  The database refused writes for {} ms.", out.value("closed_ms", 0L));
  const json hold = out.value("hold", json::object());
  if (hold.value("held", 0L) > 0)
    fmt::print("  {} requests waited at most {} ms.", hold.value("held", 0L),
               hold.value("longest_hold_ms", 0L));
  fmt::print("  Nothing was lost.\nUndo (keeps all new writes):  banyan migrate {} {}\n",
             to == "new" ? "reverse" : "switch", name);
}

void print_aborted(const std::string& name, const std::string& to, const json& conclusion) {
  const std::string verb = to == "new" ? "switch" : "reverse";
  fmt::print(stderr,
             "ABORTED, nothing changed (exit 7).\n  Why     {}\n  1  banyan migrate status {}\n"
             "  2  banyan migrate {} {}      try again\n",
             conclusion.value("why", ""), name, verb, name);
}

void print_cancelled(const json& out) {
  const json database = out.value("database", json::object());
  if (!database.empty())
    print_field("new database",
                fmt::format("{} objects dropped", database.value("dropped", json::array()).size()));
  for (const json& kept : database.value("kept", json::array()))
    print_field("  kept", kept.value("name", "") + ": " + kept.value("why", ""));
  for (const auto& [name, files] : out.value("files", json::object()).items())
    print_field("bucket of " + name,
                fmt::format("{} objects removed, {} kept (others wrote them)",
                            files.value("removed", 0L), files.value("kept", 0L)));
  fmt::print("CANCELLED. The old side serves, as before.\n");
}

void print_completed(const json& out) {
  fmt::print("COMPLETED. The old side is no longer followed.\n");
  print_names("still followed", out.value("copies", json::array()));
}

}  // namespace banyan
