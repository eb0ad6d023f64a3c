// The role `replicate`: the verbs of database migrations, by name, over the role's socket.

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>

#include "app/roles.h"
#include "base/guarded.h"
#include "base/log.h"
#include "planes/replication/job.h"
#include "planes/replication/preflight.h"
#include "planes/replication/readdress.h"
#include "planes/replication/replication_metrics.h"
#include "planes/replication/split_ends.h"
#include "planes/replication/split_plan.h"
#include "wire/rpc/server.h"

namespace banyan {
namespace {

using nlohmann::json;
using replication::Epoch;
using replication::Job;
namespace fs = std::filesystem;

// The migrations of this role. Each has a folder <state_dir>/replicate/<name> with config.json.
class Jobs {
 public:
  explicit Jobs(fs::path root) : root_(std::move(root)), feeds_(root_) {}

  const fs::path& root() const { return root_; }

  // Resumes what was running when the role ended, however it ended.
  void resume() {
    std::error_code absent;
    for (const auto& entry : fs::directory_iterator(root_, absent)) {
      std::ifstream file(entry.path() / "config.json");
      const auto config = json::parse(file, nullptr, false);
      const auto name = entry.path().filename().string();
      if (config.is_discarded()) continue;
      if (auto job = add(name, config); !job) {
        log_error("cannot resume", {{"migration", name}, {"error", job.error().message()}});
      }
    }
  }

  Result<std::shared_ptr<Job>> start(const std::string& name, const json& config) {
    if (auto known = find(name)) {
      TRY(const auto job, moved_along(name, *known, config));
      if (config.contains("spool")) TRY_VOID(job->adopt(config));
      job->start();
      return job;
    }
    if (name.empty() || name.find_first_of("/.") != std::string::npos) {
      return failure(Code::kInvalidArgument, "a migration's name has no dots and slashes");
    }
    TRY(const auto settled, replication::settle_config(name, config));
    TRY(const auto parsed, replication::parse_engine_config(name, settled));
    TRY(const auto shared, shared_feed(parsed));
    TRY_VOID(replication::write_config(root_ / name, settled));
    return add(name, settled);
  }

  // A completed split goes on with its copies: a job of the configuration it left.
  Result<json> complete(const std::string& name, Job::Copies copies) {
    TRY(const auto job, find(name));
    TRY(json out, job->complete(copies));
    if (!job->has_copies() || copies == Job::Copies::kEnd) return out;
    TRY(const auto config, stored_config(name));
    TRY_VOID(replace(name, *job, config));
    return out;
  }

  Result<std::shared_ptr<Job>> find(const std::string& name) const {
    auto found = jobs_.with([&](const Map& jobs) {
      const auto at = jobs.find(name);
      return at == jobs.end() ? nullptr : at->second;
    });
    if (found) return found;
    return std::unexpected(Error(Code::kNotFound, "no migration " + name + " here")
                               .with_remedy("Call start with its configuration."));
  }

  // After a cancel nothing is left to be resumed; the same name may start anew.
  Result<void> forget(const std::string& name) {
    std::error_code trouble;
    fs::remove_all(root_ / name, trouble);
    if (trouble) return failure(Code::kUnavailable, "cannot remove the state of " + name);
    jobs_.with([&](Map& jobs) { jobs.erase(name); });
    return {};
  }

  std::map<std::string, json> statuses() const {
    std::map<std::string, json> all;
    for (const auto& [name, job] : jobs_.with([](const Map& jobs) { return jobs; })) {
      if (auto status = job->status()) all.emplace(name, std::move(*status));
    }
    return all;
  }

  void stop() {
    for (auto& [name, job] : jobs_.with([](Map& jobs) { return std::exchange(jobs, {}); })) {
      job->stop();
    }
  }

 private:
  using Map = std::map<std::string, std::shared_ptr<Job>>;

  Result<json> stored_config(const std::string& name) const {
    std::ifstream file(root_ / name / "config.json");
    auto config = json::parse(file, nullptr, false);
    if (config.is_discarded()) return failure(Code::kInternal, "the configuration is not readable");
    return config;
  }

  // The same migration by another configuration.
  Result<std::shared_ptr<Job>> replace(const std::string& name, Job& job, const json& config) {
    jobs_.with([&](Map& jobs) { jobs.erase(name); });
    job.stop();
    return add(name, config);
  }

  // The job, made anew when the addresses of its databases are others than before.
  Result<std::shared_ptr<Job>> moved_along(const std::string& name, const std::shared_ptr<Job>& job,
                                           const json& wanted) {
    TRY(const auto stored, stored_config(name));
    TRY(const auto config, replication::readdressed(name, stored, wanted));
    if (!config) return job;
    TRY(const auto parsed, replication::parse_engine_config(name, *config));
    TRY_VOID(shared_feed(parsed));
    TRY_VOID(replication::write_config(root_ / name, *config));
    log_info("the databases have other addresses", {{"migration", name}});
    return replace(name, *job, *config);
  }

  Result<std::shared_ptr<replication::Feed>> shared_feed(const replication::EngineConfig& config) {
    if (config.share.empty()) return std::shared_ptr<replication::Feed>();
    return feeds_.find(config.share, config.sides.old_url);
  }

  Result<std::shared_ptr<Job>> add(const std::string& name, const json& config) {
    TRY(auto parsed, replication::parse_engine_config(name, config));
    TRY(auto shared, shared_feed(parsed));
    return jobs_.with([&](Map& jobs) {
      auto& job = jobs[name];
      if (!job) job = std::make_shared<Job>(std::move(parsed), root_ / name, std::move(shared));
      job->start();
      return job;
    });
  }

  fs::path root_;
  replication::SharedFeeds feeds_;
  Guarded<Map> jobs_;
};

std::string name_of(const json& in) {
  return in.value("name", "");
}
Epoch epoch_of(const json& in) {
  return Epoch(in.value("epoch", std::int64_t{0}));
}
Duration ms_of(const json& in, const char* field, long otherwise) {
  return std::chrono::milliseconds(in.value(field, otherwise));
}

// Keys that cross the border of a split are no finding once every crossing is decided; what moves
// too by decision is looked at as well.
Result<json> preflight(const Jobs& jobs, const json& in) {
  if (!in.contains("config")) {
    TRY_VOID(jobs.find(name_of(in)));
    return failure(Code::kInvalidArgument, "preflight needs a config");
  }
  const auto settled = replication::settle_config(name_of(in), in["config"]);
  const bool is_decided = settled && settled->contains("copies");
  TRY(const auto config,
      replication::parse_engine_config(name_of(in), is_decided ? *settled : in["config"]));
  TRY(auto findings,
      replication::preflight(config.sides, config.tables, config.name, config.mapping));
  findings.push_back(replication::check_spool_room(jobs.root(), config.spool_limit));
  json checks = json::array();
  for (const auto& finding : findings) {
    checks.push_back({{"id", finding.id},
                      {"severity", replication::severity_name(finding.severity)},
                      {"title", finding.title},
                      {"detail", finding.detail},
                      {"fix_sql", finding.fix_sql},
                      {"ok", finding.ok || (is_decided && finding.id == "source.crossing_keys")}});
  }
  return json{{"checks", std::move(checks)}};
}

Result<std::string> role_sql(pg::Connection& source, const replication::SplitPlan& plan,
                             const std::string& role) {
  if (role.empty()) return std::string();
  TRY(const auto tables, replication::fenced_tables(source, plan.tables));
  std::vector<replication::FencedTable> copies;
  if (!plan.copies.empty()) {
    TRY(copies, replication::fenced_tables(source, plan.copies));
  }
  return replication::service_role_sql(tables, copies, role);
}

// {config: {source, tables, decisions?}, role?, must_be_decided?}: what crosses the border of a
// split and what the decisions come to; nothing is changed.
Result<json> plan_split(const json& in) {
  const auto config = in.value("config", json::object());
  TRY(const auto parsed, replication::parse_engine_config(name_of(in), config));
  TRY(auto source, with_context(pg::Connection::open(parsed.sides.old_url), "the old database"));
  TRY(const auto plan,
      replication::plan_split(source, parsed.tables,
                              config.value("decisions", replication::SplitDecisions())));
  if (in.value("must_be_decided", false)) TRY_VOID(replication::require_decisions(plan));
  json crossings = json::array();
  for (const auto& crossing : plan.crossings) {
    json decisions = json::array();
    for (const auto& way : crossing.decisions) {
      decisions.push_back({{"decision", way.decision}, {"does", way.does}, {"sql", way.sql}});
    }
    crossings.push_back({{"kind", crossing.kind},
                         {"object", crossing.object},
                         {"detail", crossing.detail},
                         {"decided", crossing.decided},
                         {"decisions", std::move(decisions)}});
  }
  json out = {{"crossings", std::move(crossings)},
              {"tables", plan.tables},
              {"copies", plan.copies},
              {"left_out", plan.left_out}};
  TRY(out["role_sql"], role_sql(source, plan, in.value("role", "")));
  return out;
}

using Verb = std::function<Result<json>(Job&, const json&)>;

void serve(rpc::Server& server, Jobs& jobs, const std::string& verb, Verb body) {
  server.on(verb, [&jobs, body = std::move(body)](const json& in) -> Result<json> {
    TRY(const auto job, jobs.find(name_of(in)));
    return body(*job, in);
  });
}

void serve_act(rpc::Server& server, Jobs& jobs) {
  serve(server, jobs, "act.prepare", [](Job& job, const json&) { return job.prepare(); });
  serve(server, jobs, "act.fence", [](Job& job, const json& in) {
    return job.fence(epoch_of(in), ms_of(in, "lock_timeout_ms", 300));
  });
  serve(server, jobs, "act.await", [](Job& job, const json& in) {
    return job.await(epoch_of(in), ms_of(in, "timeout_ms", 5000));
  });
  serve(server, jobs, "act.sequences", [](Job& job, const json&) { return job.sequences(); });
  serve(server, jobs, "act.check", [](Job& job, const json&) { return job.check(); });
  serve(server, jobs, "act.handover",
        [](Job& job, const json& in) { return job.handover(epoch_of(in)); });
  serve(server, jobs, "act.open", [](Job& job, const json& in) { return job.open(epoch_of(in)); });
  serve(server, jobs, "act.abort",
        [](Job& job, const json& in) { return job.abort(epoch_of(in)); });
  serve(server, jobs, "act.state", [](Job& job, const json&) { return job.state(); });
}

void serve_all(rpc::Server& server, Jobs& jobs) {
  server.on("preflight", [&jobs](const json& in) { return preflight(jobs, in); });
  server.on("metrics", [&jobs](const json&) -> Result<json> {
    return json{{"text", replication::metrics_text(jobs.statuses())}};
  });
  server.on("plan_split", [](const json& in) { return plan_split(in); });
  server.on("start", [&jobs](const json& in) -> Result<json> {
    TRY_VOID(jobs.start(name_of(in), in.value("config", json::object())));
    return json::object();
  });
  serve(server, jobs, "status", [](Job& job, const json&) { return job.status(); });
  serve(server, jobs, "verify", [](Job& job, const json& in) {
    const bool is_all = in.value("scope", "all") == "all";
    return job.verify(is_all ? replication::Scope::kAll : replication::Scope::kUnproven,
                      ms_of(in, "wait_ms", 0));
  });
  serve(server, jobs, "repair", [](Job& job, const json& in) {
    const Job::RepairOrder order{.table = in.value("table", ""),
                                 .is_dry_run = in.value("dry_run", false)};
    return job.repair(order, ms_of(in, "wait_ms", 0));
  });
  server.on("cancel", [&jobs](const json& in) -> Result<json> {
    const auto job = jobs.find(name_of(in));
    if (!job) return json::object();  // cancelled before
    TRY(json report, (*job)->cancel());
    TRY_VOID(jobs.forget(name_of(in)));
    return report;
  });
  serve(server, jobs, "throttle", [](Job& job, const json& in) { return job.throttle(in); });
  server.on("complete", [&jobs](const json& in) {
    const bool ends = in.value("copies", "keep") == "end";
    return jobs.complete(name_of(in), ends ? Job::Copies::kEnd : Job::Copies::kKeep);
  });
  serve_act(server, jobs);
}

}  // namespace

int run_replicate(const RoleOptions& options) {
  rpc::block_stop_signals();
  configure_log("replicate", Level::kInfo);
  Jobs jobs(fs::path(options.state_dir) / "replicate");
  rpc::Server server;
  serve_all(server, jobs);
  jobs.resume();
  if (auto listening = server.listen(options.socket); !listening) {
    log_error("cannot listen", {{"error", listening.error().message()}});
    return 1;
  }
  rpc::wait_for_stop_signal();
  server.stop();
  jobs.stop();
  return 0;
}

}  // namespace banyan
