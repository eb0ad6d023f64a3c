#include "planes/replication/job.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <fstream>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/made_objects.h"
#include "planes/replication/outside_log.h"
#include "planes/replication/recent_check.h"
#include "planes/replication/schema.h"
#include "planes/replication/sequences.h"
#include "planes/replication/split_plan.h"

namespace banyan::replication {
namespace {

using nlohmann::json;

constexpr auto kRetryPause = 1s;
constexpr auto kSequencePause = 5s;
constexpr auto kCensusPause = 100ms;
constexpr auto kPointPatience = 60s;       // for the stream to reach a verification's snapshot
constexpr std::size_t kCheckedKeys = 200;  // per table, in the pause
constexpr auto kCheckBudget = 50ms;
constexpr std::size_t kDifferencesTold = 20;

// Sleeps, but no longer than until a stop is asked for.
void pause(const std::stop_token& stop, Duration how_long) {
  const auto until = std::chrono::steady_clock::now() + how_long;
  while (!stop.stop_requested() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(20ms);
  }
}

json optional_text(const std::optional<std::string>& text) {
  return text ? json(*text) : json(nullptr);
}

json to_json(const TableVerdict& table) {
  json differences = json::array();
  for (const auto& difference : table.differences) {
    if (differences.size() == kDifferencesTold) break;
    differences.push_back({{"key", difference.key},
                           {"source", optional_text(difference.source)},
                           {"target", optional_text(difference.target)}});
  }
  return {{"table", table.table},
          {"rows", table.rows},
          {"equal", table.equal},
          {"more", table.has_more},
          {"differences", std::move(differences)}};
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
                      {"written", table.written},
                      {"removed", table.removed},
                      {"whole", table.is_whole}});
  }
  return {{"state", "repaired"}, {"tables", std::move(tables)}, {"rows", written}};
}

// The answer of a verb that is asked for until its work has ended.
Result<json> told(const std::string& what, std::optional<Result<json>> outcome) {
  if (!outcome) return json{{"state", "running"}, {"tables", json::array()}, {"rows", 0}};
  if (*outcome) return std::move(**outcome);
  const auto& error = outcome->error();
  log_error(what + " failed", {{"error", error.message()}});
  return json{{"state", "failed"},
              {"error", error.message()},
              {"remedy", error.remedy()},
              {"tables", json::array()},
              {"rows", 0}};
}

json to_json(const Standing& standing) {
  return {{"active", side_name(standing.active)},
          {"act", act_state_name(standing.act)},
          {"epoch", standing.epoch.value()}};
}

// A temporary file, on disk before it takes the name. Only for our eyes: it may hold passwords.
Result<void> write_durably(const std::filesystem::path& path, const std::string& text) {
  const auto part = path.string() + ".part";
  const int file = ::open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return failure(Code::kInternal, "cannot write " + part);
  const auto written = ::write(file, text.data(), text.size());
  const bool synced = ::fsync(file) == 0;
  ::close(file);
  std::error_code trouble;
  std::filesystem::rename(part, path, trouble);
  const bool whole = written == static_cast<ssize_t>(text.size());
  if (whole && synced && !trouble) return {};
  return failure(Code::kInternal, "cannot write " + path.string());
}

Result<CopyMode> parse_copy_mode(const std::string& name) {
  if (name == "auto") return CopyMode::kAuto;
  if (name == "table") return CopyMode::kTable;
  if (name == "chunk") return CopyMode::kChunk;
  return failure(Code::kInvalidArgument, "copy_mode is auto, table or chunk, not " + name);
}

// What `limits` does not say stays as it is.
ThrottleLimits parse_throttle(const json& limits, ThrottleLimits now) {
  now.bytes_per_s = limits.value("bytes_per_s", now.bytes_per_s);
  now.source_latency =
      std::chrono::milliseconds(limits.value("source_latency_ms", to_ms(now.source_latency)));
  now.replica_lag =
      std::chrono::milliseconds(limits.value("replica_lag_ms", to_ms(now.replica_lag)));
  return now;
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

Result<json> empty_answer(const Result<void>& done) {
  if (!done) return std::unexpected(done.error());
  return json::object();
}

}  // namespace

Result<EngineConfig> parse_engine_config(const std::string& name, const json& config) {
  EngineConfig parsed;
  parsed.name = name;
  if (!config.contains("source") || !config["source"].is_string() || !config.contains("target") ||
      !config["target"].is_string()) {
    return failure(Code::kInvalidArgument, "config needs source and target, two PostgreSQL URLs");
  }
  parsed.sides = {config["source"], config["target"]};
  const auto tables = config.value("tables", json("all"));
  for (const auto& table : tables.is_array() ? tables : json::array()) {
    if (!table.is_string()) return failure(Code::kInvalidArgument, "tables are names");
    const auto named = table.get<std::string>();
    parsed.tables.push_back(named.contains('.') ? named : "public." + named);
  }
  parsed.jobs = config.value("jobs", 2);
  TRY(parsed.copy_mode, parse_copy_mode(config.value("copy_mode", "auto")));
  parsed.chunk_bytes = std::max<std::int64_t>(1, config.value("chunk_bytes", parsed.chunk_bytes));
  parsed.throttle = parse_throttle(config.value("throttle", json::object()), {});
  TRY(parsed.ddl, parse_ddl_policy(config.value("ddl", "stop")));
  parsed.ddl_every =
      std::chrono::milliseconds(config.value("ddl_every_ms", to_ms(parsed.ddl_every)));
  TRY(parsed.mapping, Mapping::parse(config.value("map", json())));
  if (config.value("apply", "sets") == "rows") parsed.apply_way = BatchWriter::Way::kRows;
  parsed.slot_prefix = config.value("slot_prefix", parsed.slot_prefix);
  return parsed;
}

Result<void> write_config(const std::filesystem::path& directory, const json& config) {
  std::error_code trouble;
  std::filesystem::create_directories(directory, trouble);
  return write_durably(directory / "config.json", config.dump(2));
}

Job::Job(EngineConfig config, std::filesystem::path directory)
    : config_(with_spool(std::move(config), directory / "spool")),
      directory_(std::move(directory)),
      act_(config_.name, config_.sides, config_.tables),
      observer_(config_.name, config_.sides, config_.tables),
      engine_(config_, schema_steps()),
      keeper_(config_, engine_, directory_) {
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
  proof_.stop();
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
    if (state == "following") {
      if (auto done = carry(); !done) {
        log_warn("sequences are not set ahead", {{"error", done.error().message()}});
      }
    }
    const auto now = SystemClock().now();
    if (state != "failed" && now - looked < config_.ddl_every) continue;
    looked = now;
    if (auto done = keep_schema(); !done) {
      log_warn("the schemas are not compared", {{"error", done.error().message()}});
    }
  }
}

Result<void> Job::keep_schema() {
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (now.active != SideName::kOld || now.act == ActState::kFenced) return {};
  return keeper_.look();
}

// Looks at the side that applications write; after a switch it begins anew with the other one.
void Job::watch_writers(const std::stop_token& stop) {
  std::optional<pg::Connection> session;
  std::optional<SideName> watched;
  for (int turn = 0; !stop.stop_requested(); turn++, pause(stop, kCensusPause)) {
    if (turn % 10 == 0 || !session) {
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
      if (opened) session = std::move(*opened);
    }
    // A server that does not answer has no writers; the streams report it.
    if (session && !census_.look(*session, config_.tables)) session.reset();
    if (!session) pause(stop, kRetryPause);
  }
}

json Job::writers_json() const {
  json all = json::array();
  for (const auto& writer : census_.writers()) {
    all.push_back({{"application", writer.application},
                   {"address", writer.address},
                   {"role", writer.role},
                   {"seen", writer.seen},
                   {"first_seen_ms", writer.first_seen_ms},
                   {"last_seen_ms", writer.last_seen_ms},
                   {"table", writer.table}});
  }
  return all;
}

json Job::proof_json() const {
  json out = {{"state", proof_.state()}};
  if (const auto error = proof_.error(); !error.empty()) out["error"] = error;
  const auto verdict = proof_.verdict();
  if (!verdict) return out;
  out["rows"] = verdict->rows;
  out["tables"] = json::array();
  for (const auto& table : verdict->tables) {
    if (!table.equal) out["tables"].push_back(to_json(table));
  }
  return out;
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
                     .tables = config_.tables,
                     .directory = directory_ / "schema",
                     .jobs = config_.jobs});
}

Result<void> Job::restore_pre_data(const std::string& snapshot) {
  auto schema = schema_copy();
  TRY_VOID(fail_point("schema.start"));
  TRY_VOID(schema.bring_pre_data(snapshot));
  // From here on nobody but us writes to the new side's tables, until it is opened.
  TRY(auto target, pg::Connection::open(config_.sides.new_url));
  return add_missing_fences(target, config_.name, config_.tables, FenceMode::kEnabled);
}

Result<void> Job::restore_post_data() {
  TRY_VOID(schema_copy().build_indexes());
  TRY_VOID(fail_point("schema.indexes_made"));
  TRY_VOID(schema_copy().finish());
  TRY_VOID(fail_point("schema.finished"));
  // Most of it is there before the pause; what changes meanwhile is carried in it.
  TRY_VOID(carry_outside_log());
  return {};
}

Result<json> Job::status() {
  auto now = observer_.with([](Act& act) { return act.state(); });
  auto out = engine_.status(now ? now->active : SideName::kOld);
  const auto ended = ended_.with([](const std::string& how) { return how; });
  if (!ended.empty()) out["state"] = ended;
  const auto trouble = trouble_.with([](const std::string& why) { return why; });
  if (!trouble.empty()) {
    out["state"] = "preflight";
    out["error"] = trouble;
  }
  out["writers"] = writers_json();
  out["proof"] = proof_json();
  // The act of a migration whose databases do not answer is not known: the caller sees no field.
  if (now) out.update(to_json(*now));
  if (!now && trouble.empty() && ended.empty()) out["act_error"] = now.error().message();
  return out;
}

Result<json> Job::throttle(const json& limits) {
  const auto reason = limits.value("pause", false) ? "it was asked to" : "";
  engine_.throttle(parse_throttle(limits, engine_.throttle_limits()), reason);
  return engine_.status().value("throttle", json::object());
}

Result<json> Job::state() {
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  return to_json(now);
}

// The side whose data is carried over: the active one, or the one that was just handed over.
Result<SideName> Job::source_side(Act& act) {
  TRY(const auto now, act.state());
  return now.act == ActState::kHandedOver ? other_side(now.active) : now.active;
}

// Under a share lock of the passive side's row: it cannot be opened between our look and our
// setval, so a value that an application has taken there is never set back.
Result<SequenceReport> Job::carry() {
  return act_.with([&](Act& act) -> Result<SequenceReport> {
    TRY(const auto from, source_side(act));
    TRY(auto* active, act.session(from));
    TRY(auto* passive, act.session(other_side(from)));
    const auto closed = passive->query(
        "begin; select 1 from banyan.migration where name = " + pg::quote_literal(config_.name) +
        " and state in ('passive', 'handed_over') for share");
    Result<SequenceReport> report = SequenceReport{};
    if (!closed) report = std::unexpected(closed.error());
    if (closed && !closed->empty()) {
      report = carry_sequences(*active, *passive, config_.tables);
    }
    auto ended = passive->exec(report ? "commit" : "rollback");
    if (report && !ended) report = std::unexpected(std::move(ended).error());
    return report;
  });
}

Result<json> Job::prepare() {
  TRY_VOID(engine_.prepare_opposite());
  TRY_VOID(fail_point("prepare.opposite_made"));
  TRY_VOID(act_.with([&](Act& act) -> Result<void> {
    TRY(const auto active, source_side(act));
    TRY(auto* here, act.session(active));
    TRY(auto* there, act.session(other_side(active)));
    TRY_VOID(keeper_.check(*here, *there));
    TRY_VOID(add_missing_fences(*here, config_.name, config_.tables, FenceMode::kDisabled));
    return add_missing_fences(*there, config_.name, config_.tables, FenceMode::kEnabled);
  }));
  TRY_VOID(act_.with([&](Act& act) -> Result<void> {
    TRY(const auto now, act.state());
    if (now.act == ActState::kFenced || now.act == ActState::kHandedOver) return {};
    return proof_.warm(config_.sides.of(now.active), config_.sides.of(other_side(now.active)));
  }));
  TRY_VOID(fail_point("prepare.fences_laid"));
  TRY(const auto report, carry());
  TRY_VOID(carry_outside_log());
  return json{{"sequences", report.count}};
}

Result<json> Job::fence(Epoch epoch, Duration lock_timeout) {
  TRY(const auto lsn, act_.with([&](Act& act) { return act.fence(epoch, lock_timeout); }));
  TRY_VOID(fail_point("fence.answer"));
  return json{{"barrier_lsn", pg::format_lsn(lsn)}};
}

Result<json> Job::await(Epoch epoch, Duration timeout) {
  TRY_VOID(act_.with([&](Act& act) { return act.await(epoch, timeout); }));
  TRY_VOID(fail_point("await.answer"));
  return json{{"reached", true}};
}

Result<json> Job::sequences() {
  TRY(const auto report, carry());
  TRY_VOID(fail_point("sequences.set"));
  TRY(const auto outside, carry_outside_log());
  return json{{"count", report.count},
              {"fixed", report.fixed},
              {"large_objects", outside.large_objects.count},
              {"large_objects_changed", outside.large_objects.changed},
              {"unlogged_tables", outside.unlogged.count}};
}

// Final only while the active side is fenced; before, a rehearsal that leaves less to do. Large
// objects of a split stay: they belong to no table.
Result<Job::OutsideLog> Job::carry_outside_log() {
  return act_.with([&](Act& act) -> Result<OutsideLog> {
    OutsideLog report;
    TRY(const auto now, act.state());
    if (now.act == ActState::kHandedOver) return report;
    TRY(auto* active, act.session(now.active));
    TRY(auto* passive, act.session(other_side(now.active)));
    TRY_VOID(pass_fence(*passive, config_.name));
    TRY_VOID(passive->exec("begin"));
    auto done = [&]() -> Result<void> {
      if (config_.tables.empty()) {
        TRY(report.large_objects, carry_large_objects(*active, *passive));
      }
      if (now.act != ActState::kFenced) return {};
      TRY(report.unlogged, carry_unlogged(*active, *passive, config_.tables));
      return {};
    }();
    auto ended = passive->exec(done ? "commit" : "rollback");
    if (!done) return std::unexpected(std::move(done).error());
    if (!ended) return std::unexpected(std::move(ended).error());
    return report;
  });
}

// Both sides stand still behind the barrier: what is seen now is compared after the opening.
Result<void> Job::hold_proof(Act& act) {
  TRY(const auto now, act.state());
  if (now.act != ActState::kFenced) return {};
  TRY(auto* passive, act.session(other_side(now.active)));
  TRY_VOID(passive->query_one("select 1 from banyan.barrier where name = $1 and epoch = $2",
                              {config_.name, std::to_string(now.epoch.value())}));
  return proof_.hold();
}

Result<json> Job::check() {
  return act_.with([&](Act& act) -> Result<json> {
    TRY_VOID(fail_point("check.start"));
    if (auto held = hold_proof(act); !held) {
      // The switch does not depend on it: `verify` remains.
      log_warn("no snapshots at the barrier", {{"error", held.error().message()}});
    }
    TRY(const auto from, source_side(act));
    TRY(auto* active, act.session(from));
    TRY(auto* passive, act.session(other_side(from)));
    TRY_VOID(keeper_.check_again(*active));
    TRY(const auto verdict, check_recent(*active, *passive, config_.tables,
                                         engine_.touched_keys(from, kCheckedKeys), kCheckBudget));
    auto out = to_json(verdict);
    const auto tables = out["tables"].size();
    return json{{"tables", tables}, {"rows", verdict.rows}, {"equal", verdict.equal}};
  });
}

Result<json> Job::handover(Epoch epoch) {
  const auto decided = act_.with([&](Act& act) { return act.handover(epoch); });
  TRY_VOID(fail_point("handover.answer"));
  return empty_answer(decided);
}

Result<json> Job::open(Epoch epoch) {
  auto opened = act_.with([&](Act& act) { return act.open(epoch); });
  TRY_VOID(fail_point("open.answer"));
  if (opened) proof_.prove(config_.tables);
  return empty_answer(opened);
}

Result<json> Job::abort(Epoch epoch) {
  const auto aborted = observer_.with([&](Act& act) { return act.abort(epoch); });
  TRY_VOID(fail_point("abort.answer"));
  if (aborted) proof_.drop();
  return empty_answer(aborted);
}

Result<VerifierOptions> Job::verifier_options(const std::stop_token& stop) {
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (now.act == ActState::kHandedOver) {
    return failure(Code::kConflict, "between handover and open nothing is verified");
  }
  return VerifierOptions{
      .active_url = config_.sides.of(now.active),
      .passive_url = config_.sides.of(other_side(now.active)),
      .tables = config_.tables,
      .jobs = config_.jobs,
      .limits = {},
      .at_point =
          [this, active = now.active](const std::function<Result<pg::Lsn>()>& find_point,
                                      const std::function<Result<void>()>& body) {
            return engine_.at_point(active, find_point, kPointPatience, body);
          },
      .is_cancelled = [stop] { return stop.stop_requested(); }};
}

Result<json> Job::verify_once(const std::stop_token& stop) {
  TRY(const auto options, verifier_options(stop));
  TRY(const auto verdict, replication::verify(options));
  return to_json(verdict);
}

Result<json> Job::verify(Duration wait) {
  return told(
      "verification",
      verification_.run([this](const std::stop_token& stop) { return verify_once(stop); }, wait));
}

// The stream cannot go on: a new slot, and what differs from its snapshot.
Result<json> Job::repair_failed(const RepairOrder& order, const RepairPlan& plan, SideName active) {
  if (order.is_dry_run) {
    return json{{"state", "failed"},
                {"error", "the stream cannot go on; what differs is known only from a new slot"},
                {"remedy",
                 "Repair without --dry-run: every table is compared, what differs is "
                 "copied, and the stream follows from the new slot."},
                {"tables", json::array()},
                {"rows", 0}};
  }
  RepairReport report;
  TRY_VOID(engine_.remake_stream(active, [&](const std::string& snapshot) -> Result<void> {
    TRY(report, repair_standing(plan, snapshot));
    return {};
  }));
  auto out = to_json(report);
  out["new_slot"] = true;
  return out;
}

Result<json> Job::repair_once(const RepairOrder& order, const std::stop_token& stop) {
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (now.act == ActState::kFenced || now.act == ActState::kHandedOver) {
    return failure(Code::kConflict, "a switch is under way: finish or abort it first");
  }
  TRY(auto options, verifier_options(stop));
  const RepairPlan plan{.verifier = std::move(options),
                        .migration = config_.name,
                        .stream = stream_name(config_.name, now.active),
                        .only = order.table};
  if (engine_.has_failed(now.active)) return repair_failed(order, plan, now.active);
  TRY(const auto found, find_differences(plan));
  if (found.equal || order.is_dry_run) return to_json(found);
  TRY(const auto report, repair_live(plan, found));
  return to_json(report);
}

Result<json> Job::repair(const RepairOrder& order, Duration wait) {
  return told(
      "repair",
      repair_.run([this, order](const std::stop_token& stop) { return repair_once(order, stop); },
                  wait));
}

Result<void> Job::remove_from(SideName side) {
  TRY(auto db, pg::Connection::open(config_.sides.of(side)));
  return drop_control_schema(db, config_.name, config_.tables);
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
  return close_moved(left, config_.tables);
}

Result<json> Job::complete() {
  if (ended_.with([](const std::string& how) { return !how.empty(); })) return json::object();
  TRY(const auto now, observer_.with([](Act& act) { return act.state(); }));
  if (now.act == ActState::kFenced || now.act == ActState::kHandedOver) {
    return failure(Code::kConflict, "a switch is under way: finish or abort it first");
  }
  stop();
  TRY_VOID(engine_.remove());
  if (!config_.tables.empty() && now.active == SideName::kNew) TRY_VOID(close_split());
  TRY_VOID(remove_from(now.active));
  end_for_good("completed");
  return json::object();
}

}  // namespace banyan::replication
