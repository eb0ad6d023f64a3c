#include "planes/replication/job.h"

#include <fmt/format.h>

#include <fstream>

#include "base/durable_file.h"
#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/job_json.h"
#include "planes/replication/made_objects.h"
#include "planes/replication/outside_log.h"
#include "planes/replication/schema.h"
#include "planes/replication/sequences.h"
#include "planes/replication/split_plan.h"

namespace banyan::replication {
namespace {

using nlohmann::json;

constexpr Duration kRetryPause = 1s;
constexpr auto kSequencePause = 5s;
constexpr Duration kCensusPause = 40ms;
constexpr int kCensusShare = 50;   // on a server full of locks: a look takes a 50th of the time
constexpr int kLooksPerSide = 25;  // until it is asked again which side applications write

// Sleeps, but no longer than until a stop is asked for.
void pause(const std::stop_token& stop, Duration how_long) {
  const auto until = std::chrono::steady_clock::now() + how_long;
  while (!stop.stop_requested() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(20ms);
  }
}

EngineConfig with_spool(EngineConfig config, std::filesystem::path spool) {
  config.spool = std::move(spool);
  return config;
}

json to_json(const MadeReport& report) {
  json kept = json::array();
  for (const auto& [name, why] : report.kept) kept.push_back({{"name", name}, {"why", why}});
  return {{"dropped", report.dropped}, {"kept", std::move(kept)}};
}

}  // namespace

Job::Job(EngineConfig config, std::filesystem::path directory, std::shared_ptr<Feed> shared)
    : config_(with_spool(std::move(config), directory / "spool")),
      directory_(std::move(directory)),
      act_(config_.name, config_.sides, config_.direction(SideName::kOld)),
      observer_(config_.name, config_.sides, config_.direction(SideName::kOld)),
      proof_(directory_ / "proof.jsonl"),
      engine_(config_, schema_steps(), proof_, std::move(shared)),
      keeper_(config_, engine_, directory_, SideName::kOld),
      back_keeper_(config_, engine_, directory_, SideName::kNew),
      census_(config_.app_listen) {
  std::ifstream file(directory_ / "ended");
  std::string how;
  if (file >> how) ended_.with([&](std::string& ended) { ended = how; });
}

Job::~Job() {
  stop();
}

SchemaSteps Job::schema_steps() {
  return {.pre_data = [this](const std::string& snapshot) { return restore_pre_data(snapshot); },
          .keys = [this] { return schema_copy().build_keys(); },
          .post_data = [this] { return restore_post_data(); }};
}

void Job::start() {
  if (!ended_.with([](const std::string& ended) { return ended.empty(); })) return;
  const bool was_running = runner_.with([&](std::jthread& runner) {
    if (runner.joinable()) return true;
    runner = std::jthread([this](const std::stop_token& stop) { run(stop); });
    return false;
  });
  // What has failed waits for this call.
  if (was_running && engine_.status().value("state", "") == "failed") engine_.start();
  watcher_.with([&](std::jthread& watcher) {
    if (!watcher.joinable())
      watcher = std::jthread([this](const std::stop_token& stop) { watch_writers(stop); });
  });
}

void Job::stop() {
  runner_.with([](std::jthread& running) { running = std::jthread(); });
  watcher_.with([](std::jthread& watching) { watching = std::jthread(); });
  barrier_.stop();
  engine_.stop();
  verification_.stop();
  repair_.stop();
}

// Prepares both databases, starts the engine, then keeps sequences ahead.
void Job::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    auto created = create_schemas();
    trouble_.with(
        [&](std::string& trouble) { trouble = created ? "" : created.error().message(); });
    if (created) break;
    log_warn("cannot prepare the databases yet", {{"error", created.error().message()}});
    pause(stop, kRetryPause);
  }
  if (stop.stop_requested()) return;
  engine_.start();
  tend(stop);
}

// While it follows: sequences stay ahead, and the schemas alike.
void Job::tend(const std::stop_token& stop) {
  auto looked = SystemClock().now();
  while (!stop.stop_requested()) {
    pause(stop, std::min<Duration>(kSequencePause, config_.ddl_every));
    if (stop.stop_requested()) return;
    const auto state = engine_.status().value("state", "");
    if (state == "following" && !config_.is_copies_only) {
      if (auto done = carry(); !done) {
        log_warn("sequences are not set ahead", {{"error", done.error().message()}});
      }
    }
    if (auto done = disarm_when_due(); !done) {
      log_warn("the fences are not disarmed yet", {{"error", done.error().message()}});
    }
    if (auto done = prove_switch(); !done) {
      log_warn("the switch is not proven yet", {{"error", done.error().message()}});
    }
    const auto now = SystemClock().now();
    if (state != "failed" && now - looked < config_.ddl_every) continue;
    looked = now;
    if (auto done = keep_schema(); !done) {
      log_warn("the schemas are not compared", {{"error", done.error().message()}});
    }
  }
}

void Job::disarm_in(Duration delay) {
  disarm_at_.with([&](std::optional<Mono>& at) { at = SystemClock().now() + delay; });
}

Result<void> Job::disarm_when_due() {
  return act_.with([&](Act& act) -> Result<void> {
    const auto due = disarm_at_.with([](const std::optional<Mono>& at) { return at; });
    if (!due || *due > SystemClock().now()) return {};
    TRY(const bool done, act.disarm());
    disarm_at_.with([&](std::optional<Mono>& at) {
      if (done && at == due) at.reset();
    });
    return {};
  });
}

Result<void> Job::keep_schema() {
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (now.act == ActState::kFenced) return {};
  if (now.active == SideName::kOld) return keeper_.look(config_.carried(SideName::kOld));
  if (has_copies()) TRY_VOID(keeper_.look(config_.copies));
  return config_.is_copies_only ? Result<void>() : back_keeper_.look(config_.tables);
}

// Looks at the side that applications write; after a switch it begins anew with the other one.
void Job::watch_writers(const std::stop_token& stop) {
  std::optional<pg::Connection> session;
  std::optional<SideName> watched;
  Duration took{};
  const auto rest = [&] {
    pause(stop, std::clamp(kCensusShare * took, kCensusPause, kRetryPause));
  };
  for (int turn = 0; !stop.stop_requested(); turn++, rest()) {
    if (turn % kLooksPerSide == 0 || !session) {
      const auto now = observer_.with([](Act& act) { return act.state(); });
      if (!now) {
        pause(stop, kRetryPause);
        continue;
      }
      if (watched && *watched != now->active) census_.forget();
      if (watched != now->active) session.reset();
      watched = now->active;
    }
    if (!session || !session->is_alive()) {
      auto opened =
          pg::Connection::open(config_.sides.of(*watched), {.application_name = "banyan_census"});
      if (opened && Census::begin(*opened)) session = std::move(*opened);
    }
    const auto begun = std::chrono::steady_clock::now();
    // A server that does not answer has no writers; the streams report it.
    if (session && !census_.look(*session, config_.tables_of(*watched))) session.reset();
    took = std::chrono::steady_clock::now() - begun;
    if (!session) pause(stop, kRetryPause);
  }
}

json Job::writers_json() const {
  json all = json::array();
  for (const auto& writer : census_.writers()) {
    all.push_back({{"application", writer.application},
                   {"address", writer.address},
                   {"role", writer.role},
                   {"origin", origin_name(writer.provenance.origin)},
                   {"program", writer.provenance.program},
                   {"seen", writer.seen},
                   {"first_seen_ms", writer.first_seen_ms},
                   {"last_seen_ms", writer.last_seen_ms},
                   {"table", writer.table}});
  }
  return all;
}

Result<void> Job::create_schemas() {
  for (const auto side : {SideName::kOld, SideName::kNew}) {
    const auto attempt = fmt::format("the {} database", side_name(side));
    auto opened = pg::Connection::open(config_.sides.of(side));
    if (!opened) return std::unexpected(std::move(opened).error().with_context(attempt));
    TRY_VOID(with_context(create_control_schema(*opened, config_.name, side), attempt));
    if (side == SideName::kOld) TRY_VOID(log_ddl(*opened, config_.ddl));
  }
  return {};
}

SchemaCopy Job::schema_copy() const {
  return SchemaCopy({.migration = config_.name,
                     .source_url = config_.sides.old_url,
                     .target_url = config_.sides.new_url,
                     .tables = config_.carried(SideName::kOld),
                     .directory = directory_ / "schema",
                     .jobs = config_.jobs,
                     .left_out = config_.left_out,
                     .mapping = config_.mapping,
                     .fence = [this](pg::Connection& target) { return fence_target(target); }});
}

// From the first moment on nobody but us writes to the new side's tables, until it is opened.
Result<void> Job::fence_target(pg::Connection& target) const {
  if (has_copies()) {
    TRY_VOID(add_missing_fences(
        target, config_.name, config_.direction(SideName::kNew, config_.copies), FenceMode::kCopy));
  }
  return add_missing_fences(target, config_.name, config_.direction(SideName::kNew),
                            FenceMode::kArmed);
}

Result<void> Job::restore_pre_data(const std::string& snapshot) {
  auto schema = schema_copy();
  TRY_VOID(fail_point("schema.start"));
  TRY_VOID(schema.bring_pre_data(snapshot));
  TRY_VOID(fail_point("schema.pre_data_made"));
  return {};
}

Result<void> Job::restore_post_data() {
  TRY_VOID(schema_copy().build_indexes());
  TRY_VOID(fail_point("schema.indexes_made"));
  TRY_VOID(schema_copy().finish());
  TRY_VOID(fail_point("schema.finished"));
  // Most of it is there before the pause; what changes meanwhile is carried in it.
  TRY_VOID(carry_outside_log());
  return make_role();
}

Result<void> Job::make_role() {
  if (!config_.service_role) return {};
  TRY(auto target, pg::Connection::open(config_.sides.new_url));
  return make_service_role(target, config_.tables_of(SideName::kNew),
                           config_.mapping.names_there(config_.copies), *config_.service_role);
}

Result<json> Job::status() {
  auto now = observer_.with([](Act& act) { return act.state(); });
  auto out = engine_.status(now ? now->active : SideName::kOld);
  const auto ended = ended_.with([](const std::string& how) { return how; });
  if (!ended.empty()) out["state"] = ended;
  if (config_.is_copies_only) out["completed"] = true;
  const auto trouble = trouble_.with([](const std::string& why) { return why; });
  if (!trouble.empty()) {
    out["state"] = "preflight";
    out["error"] = trouble;
  }
  out["writers"] = writers_json();
  out["proof"] = proof_json();
  out["proven"] = proven_json(out["tables"]);
  // The act of a migration whose databases do not answer is not known: the caller sees no field.
  if (now) out.update(to_json(*now));
  if (!now && trouble.empty() && ended.empty()) out["act_error"] = now.error().message();
  return out;
}

Result<void> Job::adopt(const json& config) {
  const auto bytes = config.value("/spool/limit_bytes"_json_pointer, config_.spool_limit);
  std::ifstream file(directory_ / "config.json");
  auto kept = json::parse(file, nullptr, false);
  if (kept.is_discarded()) return failure(Code::kInternal, "the configuration is not readable");
  if (kept.value("/spool/limit_bytes"_json_pointer, config_.spool_limit) != bytes) {
    kept["spool"]["limit_bytes"] = bytes;
    TRY_VOID(write_config(directory_, kept));
  }
  engine_.allow_spool(bytes);
  return {};
}

Result<json> Job::throttle(const json& limits) {
  const auto reason = limits.value("pause", false) ? "it was asked to" : "";
  engine_.throttle(parse_throttle(limits, engine_.throttle_limits()), reason);
  return engine_.status().value("throttle", json::object());
}

Result<void> Job::remove_from(SideName side) {
  TRY(auto db, pg::Connection::open(config_.sides.of(side)));
  auto fenced = config_.tables;
  if (side == SideName::kNew) {
    TRY_VOID(drop_row_constraints(db, config_.mapping));
    fenced.insert(fenced.end(), config_.copies.begin(), config_.copies.end());
  }
  TRY_VOID(drop_fences(db, config_.name, config_.direction(side, fenced).from));
  return drop_control_schema(db, config_.name);
}

void Job::end_for_good(const std::string& how) {
  if (auto kept = write_durably(directory_ / "ended", how); !kept) {
    log_error("the end is not kept", {{"error", kept.error().message()}});
  }
  ended_.with([&](std::string& ended) { ended = how; });
}

Result<json> Job::cancel() {
  if (ended_.with([](const std::string& how) { return !how.empty(); })) return json::object();
  auto now = observer_.with([](Act& act) { return act.state(); });
  if (now && (now->active != SideName::kOld || now->act == ActState::kFenced)) {
    return std::unexpected(
        Error(Code::kConflict, "the new side is active, or a switch is under way")
            .with_remedy("Switch back first, or complete the migration."));
  }
  stop();
  TRY_VOID(engine_.remove());
  TRY_VOID(remove_from(SideName::kOld));
  TRY(auto target, pg::Connection::open(config_.sides.new_url));
  TRY(const auto report, drop_made_objects(target, config_.name));
  TRY_VOID(remove_from(SideName::kNew));
  end_for_good("cancelled");
  return to_json(report);
}

// The rest of the old database goes on: whoever still reads what moved must hear of it.
Result<void> Job::close_split() {
  TRY(auto left, pg::Connection::open(config_.sides.old_url));
  return close_moved(left, config_.direction(SideName::kOld).whole());
}

// Crash-safe by repetition: the configuration changes last, and each step finds what is done.
Result<json> Job::complete_but_copies() {
  TRY_VOID(engine_.keep_copies());
  TRY_VOID(close_split());
  TRY(auto target, pg::Connection::open(config_.sides.new_url));
  TRY_VOID(drop_row_constraints(target, config_.mapping));
  TRY_VOID(drop_fences(target, config_.name, config_.tables_of(SideName::kNew)));
  std::ifstream file(directory_ / "config.json");
  auto config = json::parse(file, nullptr, false);
  if (config.is_discarded()) return failure(Code::kInternal, "the configuration is not readable");
  config["copies_only"] = true;
  TRY_VOID(write_config(directory_, config));
  return json{{"copies", config_.copies}};
}

Result<json> Job::complete(Copies copies) {
  if (ended_.with([](const std::string& how) { return !how.empty(); })) return json::object();
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (now.is_closed()) {
    return failure(Code::kConflict, "a switch is under way: finish or abort it first");
  }
  const bool keeps = has_copies() && now.active == SideName::kNew && copies == Copies::kKeep;
  if (keeps && config_.is_copies_only) return json{{"copies", config_.copies}};
  stop();
  if (keeps) return complete_but_copies();
  TRY_VOID(engine_.remove());
  const bool was_split = !config_.tables.empty() && now.active == SideName::kNew;
  if (was_split && !config_.is_copies_only) TRY_VOID(close_split());
  TRY_VOID(remove_from(now.active));
  end_for_good("completed");
  return json::object();
}

}  // namespace banyan::replication
