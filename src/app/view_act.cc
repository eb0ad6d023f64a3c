// An act and its end: refused, moved, aborted, cancelled, completed.

#include <fmt/format.h>

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
  fmt::print("REFUSED, nothing was started (exit 3).\n");
  for (const json& finding : out.at("open")) {
    print_finding(finding);
    accept += " --accept " + finding.value("id", "");
  }
  fmt::print("  1  repair what was found, then: {}\n  2  go on despite it:  {}{}\n", create, create,
             accept);
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

void print_moved(const std::string& name, const std::string& to, const json& release) {
  fmt::print(
      "{}.  {} requests waited at most {} ms. Nothing was lost.\nUndo (keeps all new writes):  "
      "banyan migrate {} {}\n",
      to == "new" ? "SWITCHED" : "REVERSED", release.value("held", 0L),
      release.value("longest_hold_ms", 0L), to == "new" ? "reverse" : "switch", name);
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
