// migrate VERB NAME: what each asks of control, and its exit code.

#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <thread>

#include "app/cli.h"
#include "app/views.h"

namespace banyan {

using nlohmann::json;

namespace {

constexpr Duration kVerifyPatience = 11min;
constexpr Duration kWatchPause = 1s;
constexpr Duration kEventPause = 20ms;
constexpr Duration kControlPatience = 30s;
constexpr Duration kCreatePatience = 150s;
constexpr Duration kCancelPatience = 10min;

// ---- status

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

Exit verify(const Cli& cli, const std::string& name, bool is_incremental) {
  const json order = {{"name", name}, {"scope", is_incremental ? "unproven" : "all"}};
  const auto out = cli.control("migrate.verify", order, kVerifyPatience);
  if (!out) return cli.show(out.error());
  const bool equal = out->value("equal", false);
  cli.show(*out, print_verification);
  if (!cli.as_json) fmt::print("Next: {}\n", out->value("next", ""));
  return equal ? Exit::kOk : Exit::kInconclusive;
}

// ---- repair

struct RepairOptions {
  std::string table;
  bool is_dry_run = false;
};

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

Exit throttle(const Cli& cli, const std::string& name, const ThrottleOptions& options) {
  json order = {{"name", name}, {"pause", options.is_paused}};
  if (options.mb_per_s) order["bytes_per_s"] = *options.mb_per_s * 1'000'000LL;
  const auto out = cli.control("migrate.throttle", order);
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_throttle);
}

// ---- plan-split

Exit plan_split(const Cli& cli, const std::string& name, const std::string& role) {
  const auto out = cli.control("migrate.plan_split", {{"name", name}, {"role", role}}, 60s);
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_split);
}

// ---- switch and reverse

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

Exit conclude(const Cli& cli, const std::string& name, const std::string& to, const ActEnd& end) {
  const bool moved = end.conclusion.value("moved", false);
  json out = {{"moved", moved},
              {"why", end.conclusion.value("why", "")},
              {"hold", end.release},
              {"events", end.events}};
  if (const auto closed = closed_ms(end.events)) out["closed_ms"] = *closed;
  if (!moved && !cli.as_json) print_aborted(name, to, end.conclusion);
  if (moved || cli.as_json) cli.show(out, [&](const json&) { print_moved(name, to, out); });
  return moved ? Exit::kOk : Exit::kAborted;
}

bool all_green(const json& gates) {
  return std::ranges::all_of(gates, [](const json& gate) { return gate.value("green", false); });
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
  if (dry_run) {
    cli.show(*started, [&](const json& out) {
      print_steps(out.value("steps", json::array()));
      fmt::print("Dry run: nothing was done.\n");
    });
    return all_green(started->at("gates")) ? Exit::kOk : Exit::kPrecondition;
  }
  const auto end = follow(cli, name, started->at("act_id"));
  if (!end) return cli.show(end.error());
  return conclude(cli, name, to, *end);
}

// ---- create

struct CreateOptions {
  bool detach = false;
  std::vector<std::string> accept;  // ids of findings
};

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

Exit cancel(const Cli& cli, const std::string& name) {
  const auto out = cli.control("migrate.cancel", {{"name", name}}, kCancelPatience);
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_cancelled);
}

struct CompleteOptions {
  std::string typed;
  bool ends_copies = false;
};

Exit complete(const Cli& cli, const std::string& name, const CompleteOptions& options) {
  std::string typed = options.typed;
  if (typed.empty() && is_terminal()) {
    fmt::print(
        "This cannot be undone: the way back to the old side ends. Type the migration's name: ");
    std::fflush(stdout);
    std::getline(std::cin, typed);
  }
  if (typed != name) {
    cli.show(Error(Code::kPermission, "the migration's name was not typed")
                 .with_remedy("banyan migrate complete " + name + " --confirm " + name));
    return Exit::kUnconfirmed;
  }
  const std::string copies = options.ends_copies ? "end" : "keep";
  const auto out =
      cli.control("migrate.complete", {{"name", name}, {"typed", typed}, {"copies", copies}}, 120s);
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_completed);
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
