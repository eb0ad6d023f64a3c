// migrate create|status|verify|switch|reverse|cancel|complete|report NAME: the acts.

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <thread>

#include "app/cli.h"

namespace banyan {

using nlohmann::json;

namespace {

constexpr Duration kVerifyPatience = 11min;
constexpr Duration kWatchPause = 1s;
constexpr std::size_t kTablesTold = 50;
constexpr Duration kEventPause = 20ms;
constexpr Duration kControlPatience = 30s;
constexpr Duration kCreatePatience = 150s;
constexpr Duration kCancelPatience = 10min;

// ---- status

void print_names(const char* label, const json& names) {
  for (const json& name : names) print_field(std::exchange(label, ""), name.get<std::string>());
}

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
    return fmt::format("{}: {} {}", database.value("state", "?"), database["error"].dump(),
                       database.value("remedy", ""));
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

void print_steps(const json& steps) {
  fmt::print("the act would be:\n");
  int number = 0;
  for (const json& step : steps)
    fmt::print(" {:>2}  {:<12} {}\n", ++number, step.value("step", ""), step.value("does", ""));
}

// What deserves a look even when the gates are green.
void print_alarms(const json& database) {
  for (const json& alarm : database.value("tripwire", json::array()))
    fmt::print("ALARM: {} {} on the closed {} side, not carried over: {}\n",
               alarm.value("operation", ""), alarm.value("table", ""), alarm.value("side", ""),
               alarm.value("row", ""));
  if (const json copies = database.value("copies", json::object()); copies.is_object())
    print_names("copies", copies.value("tables", json::array()));
  print_names("left out", database.value("left_out", json::array()));
}

void print_differences(const json& tables) {
  for (const json& table : tables)
    for (const json& difference : table.value("differences", json::array()))
      fmt::print("  {} key {}: {} | {}\n", table.value("table", ""),
                 difference.value("key", json()).dump(), difference.value("source", json()).dump(),
                 difference.value("target", json()).dump());
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

void print_status(const json& out) {
  fmt::print("{}  {}   ({} side serves)\n", out.value("name", ""), out.value("state", ""),
             out.value("serves", ""));
  const std::string state = out.value("state", "");
  if (out.value("created", false) && state != "CANCELLED" && state != "COMPLETED") {
    print_admission(out);
    print_field("database", database_line(out.at("database")));
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

bool is_settled(const std::string& state) {
  return state != "DRAFT" && state != "ASSESSED" && state != "ADOPTED" && state != "COPYING" &&
         state != "FENCING";
}

// Prints the state until it is one that waits for a person.
Exit watch(const Cli& cli, const std::string& name) {
  std::string last;
  while (true) {
    const auto out = cli.control("migrate.status", {{"name", name}});
    if (!out) return cli.show(out.error());
    const std::string state = out->value("state", "");
    const std::string line = progress_line(*out);
    if (cli.as_json)
      fmt::print("{}\n", out->dump());
    else if (is_terminal())
      fmt::print("\r\033[K{}", line);
    else if (line != last)
      fmt::print("{}\n", line);
    std::fflush(stdout);
    last = line;
    if (is_settled(state)) {
      if (!cli.as_json) fmt::print("\n");
      if (!cli.as_json) print_status(*out);
      return state == "BLOCKED" ? Exit::kError : Exit::kOk;
    }
    std::this_thread::sleep_for(kWatchPause);
  }
}

Exit status(const Cli& cli, const std::string& name) {
  const auto out = cli.control("migrate.status", {{"name", name}});
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_status);
}

// ---- verify

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

void print_verification(const json& out) {
  if (out.contains("database")) {
    const json& database = out["database"];
    print_field(
        "database",
        fmt::format("{}: {} rows in {} tables{}", database.value("state", ""),
                    database.value("rows", 0L), database.value("tables", json::array()).size(),
                    database.value("scope", "all") == "all" ? "" : ", of what was not proven"));
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
  fmt::print("{}\n", out.value("equal", false) ? "EQUAL. Both sides hold the same." : "NOT EQUAL.");
}

Exit verify(const Cli& cli, const std::string& name, bool is_incremental) {
  const json order = {{"name", name}, {"scope", is_incremental ? "unproven" : "all"}};
  const auto out = cli.control("migrate.verify", order, kVerifyPatience);
  if (!out) return cli.show(out.error());
  const bool equal = out->value("equal", false);
  cli.show(*out, print_verification);
  if (equal && !cli.as_json) fmt::print("Next: banyan migrate switch {}\n", name);
  return equal ? Exit::kOk : Exit::kInconclusive;
}

// ---- repair

struct RepairOptions {
  std::string table;
  bool is_dry_run = false;
};

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
  if (state == "failed")
    fmt::print("FAILED. {}\n{}\n", out.value("error", ""), out.value("remedy", ""));
  if (state == "equal") fmt::print("EQUAL. There is nothing to repair.\n");
  if (state == "different") fmt::print("Dry run: nothing was written.\n");
  if (state == "running") fmt::print("Still at work; ask again.\n");
  if (state == "repaired") {
    fmt::print("REPAIRED{}. The rows were read back.\n",
               out.value("new_slot", false) ? ", and the stream follows from a new slot" : "");
  }
}

Exit repair(const Cli& cli, const std::string& name, const RepairOptions& options) {
  json order = {{"name", name}, {"dry_run", options.is_dry_run}};
  if (!options.table.empty())
    order["table"] = options.table.contains('.') ? options.table : "public." + options.table;
  const auto out = cli.control("migrate.repair", order, kVerifyPatience);
  if (!out) return cli.show(out.error());
  cli.show(*out, print_repair);
  const std::string state = out->value("state", "");
  if (state == "failed") return Exit::kError;
  if (state == "repaired" && !cli.as_json) fmt::print("Next: banyan migrate verify {}\n", name);
  return state == "repaired" || state == "equal" ? Exit::kOk : Exit::kInconclusive;
}

// ---- throttle

struct ThrottleOptions {
  std::optional<int> mb_per_s;
  bool is_paused = false;
};

void print_throttle(const json& out) {
  const auto limit = out.value("bytes_per_s", 0L);
  print_field("Limit", limit == 0 ? "none" : fmt::format("{} MB/s", limit / 1'000'000));
  for (const json& reason : out.value("reasons", json::array())) {
    print_field("Held", reason.get<std::string>());
  }
}

Exit throttle(const Cli& cli, const std::string& name, const ThrottleOptions& options) {
  json order = {{"name", name}, {"pause", options.is_paused}};
  if (options.mb_per_s) order["bytes_per_s"] = *options.mb_per_s * 1'000'000LL;
  const auto out = cli.control("migrate.throttle", order);
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_throttle);
}

// ---- plan-split

// What the decisions come to.
void print_terms(const json& out) {
  fmt::print("\n");
  print_names("moves", out.value("tables", json::array()));
  print_names("copied, read-only", out.value("copies", json::array()));
  print_names("left out", out.value("left_out", json::array()));
}

// Lines for the spec.
void print_undecided(const json& crossings) {
  bool is_first = true;
  for (const json& crossing : crossings) {
    const std::string kind = crossing.value("kind", "");
    if (kind == "query" || !crossing.value("decided", "").empty()) continue;
    if (std::exchange(is_first, false))
      fmt::print("\nNot decided yet. In banyan.yaml, under move.database:\n  decisions:\n");
    std::string ways;
    for (const json& way : crossing.at("decisions"))
      ways += (ways.empty() ? "" : " | ") + way.value("decision", "");
    fmt::print("    \"{} {}\": {}\n", kind, crossing.value("object", ""), ways);
  }
}

void print_split(const json& out) {
  const json crossings = out.value("crossings", json::array());
  if (crossings.empty()) fmt::print("Nothing crosses the border of these tables.\n");
  for (const json& crossing : crossings) {
    fmt::print("{} {}\n  {}\n", crossing.value("kind", ""), crossing.value("object", ""),
               crossing.value("detail", ""));
    int number = 0;
    const std::string decided = crossing.value("decided", "");
    for (const json& way : crossing.value("decisions", json::array())) {
      const std::string decision = way.value("decision", "");
      fmt::print("  {}{}. {}: {}\n", decision == decided ? "=> " : "   ", ++number, decision,
                 way.value("does", ""));
    }
  }
  print_terms(out);
  print_undecided(crossings);
  if (const std::string role = out.value("role_sql", ""); !role.empty()) {
    fmt::print("\nFor the new database, after create:\n{}", role);
  }
}

Exit plan_split(const Cli& cli, const std::string& name, const std::string& role) {
  const auto out = cli.control("migrate.plan_split", {{"name", name}, {"role", role}}, 60s);
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_split);
}

// ---- switch and reverse

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

void print_event(const json& event) {
  if (event.value("kind", "") == "intent" || event.value("step", "") == "act") return;
  const std::string time = event.value("time", "");
  fmt::print(" {}  {:<12} {:>7.1f} ms  {}\n", time.substr(11, 12), event.value("step", ""),
             event.at("detail").value("us", 0.0) / 1000, note_of(event));
  std::fflush(stdout);
}

struct ActEnd {
  json conclusion;
  json events = json::array();
  json release;
};

// Follows the act through its journal; a conductor that is being restarted is waited for.
Result<ActEnd> follow(const Cli& cli, const std::string& name, const std::string& act_id) {
  ActEnd end;
  std::int64_t after = 0;
  Mono heard = SystemClock().now();
  while (true) {
    const auto out =
        cli.control("migrate.events", {{"name", name}, {"act_id", act_id}, {"after", after}});
    if (!out && SystemClock().now() - heard > kControlPatience) return std::unexpected(out.error());
    if (out) {
      heard = SystemClock().now();
      for (const json& event : out->at("events")) {
        after = event.at("sequence");
        if (!cli.as_json) print_event(event);
        if (event.at("step") == "release" && event.at("kind") == "outcome")
          end.release = event.at("detail");
        end.events.push_back(event);
      }
      if (out->contains("conclusion")) {
        end.conclusion = out->at("conclusion");
        return end;
      }
    }
    std::this_thread::sleep_for(kEventPause);
  }
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

Exit conclude(const Cli& cli, const std::string& name, const std::string& to, const ActEnd& end) {
  const bool moved = end.conclusion.value("moved", false);
  if (cli.as_json) {
    fmt::print("{}\n", json{{"moved", moved},
                            {"why", end.conclusion.value("why", "")},
                            {"hold", end.release},
                            {"events", end.events}}
                           .dump(2));
  } else if (moved) {
    print_moved(name, to, end.release);
  } else {
    print_aborted(name, to, end.conclusion);
  }
  return moved ? Exit::kOk : Exit::kAborted;
}

Exit cut_over(const Cli& cli, const std::string& name, const std::string& to, bool dry_run) {
  const auto started =
      cli.control("migrate.cut_over", {{"name", name}, {"to", to}, {"dry_run", dry_run}});
  if (!started) return cli.show(started.error());
  if (started->value("already", false))
    return cli.show(*started, [](const json& out) {
      fmt::print("No change: the {}.\n", out.value("note", ""));
    });
  if (!cli.as_json) print_gates(started->at("gates"));
  if (dry_run)
    return cli.show(*started, [&](const json&) {
      print_steps(started->value("steps", json::array()));
      fmt::print("Dry run: nothing was done.\n");
    });
  const auto end = follow(cli, name, started->at("act_id"));
  if (!end) return cli.show(end.error());
  return conclude(cli, name, to, *end);
}

// ---- create

struct CreateOptions {
  bool detach = false;
  std::vector<std::string> accept;  // ids of findings
};

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

// Shows the copy's progress until everything follows; Ctrl-C ends the showing, not the copying.
Exit create(const Cli& cli, const std::string& name, const CreateOptions& options) {
  const auto out =
      cli.control("migrate.create", {{"name", name}, {"accept", options.accept}}, kCreatePatience);
  if (!out) return cli.show(out.error());
  if (out->value("refused", false)) {
    cli.show(*out, print_refusal);
    return Exit::kPrecondition;
  }
  if (options.detach || cli.as_json) return cli.show(*out, print_status);
  return watch(cli, name);
}

// ---- the rest

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

Exit cancel(const Cli& cli, const std::string& name) {
  const auto out = cli.control("migrate.cancel", {{"name", name}}, kCancelPatience);
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_cancelled);
}

struct CompleteOptions {
  std::string typed;
  bool ends_copies = false;
};

void print_completed(const json& out) {
  fmt::print("COMPLETED. The old side is no longer followed.\n");
  print_names("still followed", out.value("copies", json::array()));
}

Exit complete(const Cli& cli, const std::string& name, const CompleteOptions& options) {
  std::string typed = options.typed;
  if (typed.empty() && is_terminal()) {
    fmt::print(
        "This cannot be undone: the way back to the old side ends. Type the migration's name: ");
    std::fflush(stdout);
    std::getline(std::cin, typed);
  }
  if (typed != name)
    return cli.show(Error(Code::kPermission, "the migration's name was not typed")
                        .with_remedy("banyan migrate complete " + name + " --confirm " + name));
  const std::string copies = options.ends_copies ? "end" : "keep";
  const auto out =
      cli.control("migrate.complete", {{"name", name}, {"typed", typed}, {"copies", copies}}, 120s);
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_completed);
}

void print_report(const json& out) {
  print_status(out);
  fmt::print("acts:\n");
  for (const json& event : out.at("events")) print_event(event);
}

Exit report(const Cli& cli, const std::string& name) {
  const auto out = cli.control("migrate.report", {{"name", name}});
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_report);
}

// Adds `migrate VERB NAME`, running `fn(name)`.
CLI::App* add_verb(CLI::App& migrate, Cli& cli, const char* verb, const char* help,
                   std::function<Exit(const std::string&)> fn) {
  auto* sub = migrate.add_subcommand(verb, help);
  auto* name = sub->add_option("NAME", "the migration, as named in the spec")->required();
  sub->callback([&cli, name, fn = std::move(fn)] { cli.exit = fn(name->as<std::string>()); });
  return sub;
}

void add_cut_over(CLI::App& migrate, Cli& cli, const char* verb, const char* help, const char* to) {
  auto dry_run = std::make_shared<bool>(false);
  add_verb(migrate, cli, verb, help, [&cli, to, dry_run](const std::string& name) {
    return cut_over(cli, name, to, *dry_run);
  })->add_flag("--dry-run", *dry_run, "check every precondition and stop");
}

}  // namespace

void add_migrate_verbs(CLI::App& app, Cli& cli) {
  auto* migrate =
      app.add_subcommand("migrate", "move a running system: create, verify, switch, reverse");
  migrate->require_subcommand(1);
  auto options = std::make_shared<CreateOptions>();
  auto* create_verb =
      add_verb(*migrate, cli, "create", "copy and follow; the old side goes on serving",
               [&cli, options](const std::string& name) { return create(cli, name, *options); });
  create_verb->add_flag("-d,--detach", options->detach, "do not show the progress");
  create_verb->add_option("--accept", options->accept,
                          "go on despite the finding with this id; may be repeated");
  auto watching = std::make_shared<bool>(false);
  add_verb(*migrate, cli, "status", "where it stands, who else writes, and the next command",
           [&cli, watching](const std::string& name) {
             return *watching ? watch(cli, name) : status(cli, name);
           })
      ->add_flag("--watch", *watching, "until it waits for you");
  auto incremental = std::make_shared<bool>(false);
  add_verb(*migrate, cli, "verify", "compare every row, file and session of both sides",
           [&cli, incremental](const std::string& name) { return verify(cli, name, *incremental); })
      ->add_flag("--incremental", *incremental,
                 "of the database only what was written since it was last seen equal");
  auto order = std::make_shared<RepairOptions>();
  auto* repairing =
      add_verb(*migrate, cli, "repair", "write the rows that differ anew; also after a lost slot",
               [&cli, order](const std::string& name) { return repair(cli, name, *order); });
  repairing->add_option("--table", order->table, "only this one");
  repairing->add_flag("--dry-run", order->is_dry_run, "say what differs and stop");
  auto limits = std::make_shared<ThrottleOptions>();
  auto* throttling =
      add_verb(*migrate, cli, "throttle", "slow the copy down or stop it; without options goes on",
               [&cli, limits](const std::string& name) { return throttle(cli, name, *limits); });
  throttling->add_option("--mb-per-s", limits->mb_per_s, "limit of the copy (0: none)");
  throttling->add_flag("--pause", limits->is_paused, "stand still until told otherwise");
  auto service_role = std::make_shared<std::string>();
  add_verb(*migrate, cli, "plan-split",
           "what crosses the border of the tables that move, and the ways to decide",
           [&cli, service_role](const std::string& name) {
             return plan_split(cli, name, *service_role);
           })
      ->add_option("--role", *service_role, "also: SQL for a role that may use these tables only");
  add_cut_over(*migrate, cli, "switch", "the cutover: traffic and data as one act", "new");
  add_cut_over(*migrate, cli, "reverse", "the same act backwards; keeps everything written since",
               "old");
  add_verb(*migrate, cli, "cancel",
           "stop and remove what create started; always safe before the switch",
           [&cli](const std::string& name) { return cancel(cli, name); });
  auto ending = std::make_shared<CompleteOptions>();
  auto* completing =
      add_verb(*migrate, cli, "complete", "end the way back; irreversible, asks for the typed name",
               [&cli, ending](const std::string& name) { return complete(cli, name, *ending); });
  completing->add_option("--confirm", ending->typed, "the migration's name, instead of typing it");
  completing->add_flag("--end-copies", ending->ends_copies,
                       "of a split: the read-only copies are no longer followed either");
  add_verb(*migrate, cli, "report", "everything that was done, with its evidence",
           [&cli](const std::string& name) { return report(cli, name); });
}

}  // namespace banyan
