#include "planes/files/files_service.h"

#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "base/durable_file.h"
#include "base/log.h"
#include "base/percent.h"
#include "planes/files/file_sync.h"
#include "wire/s3/encoding.h"

namespace banyan::files {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr auto kWaitDefaultMs = 30'000;

Result<std::string> text_of(const json& in, const char* name) {
  const auto at = in.find(name);
  if (at == in.end() || !at->is_string() || at->get_ref<const std::string&>().empty()) {
    return failure(Code::kInvalidArgument, std::string(name) + " is missing");
  }
  return at->get<std::string>();
}

std::string text_or(const json& in, const char* name, std::string otherwise) {
  const auto at = in.find(name);
  return at != in.end() && at->is_string() ? at->get<std::string>() : otherwise;
}

std::int64_t integer_or(const json& in, const char* name, std::int64_t otherwise) {
  const auto at = in.find(name);
  return at != in.end() && at->is_number() ? at->get<std::int64_t>() : otherwise;
}

Duration duration_of(const json& in, const char* name) {
  return std::chrono::milliseconds(integer_or(in, name, kWaitDefaultMs));
}

Result<FileSyncOptions> options_of(const json& config) {
  FileSyncOptions options;
  TRY(options.path, text_of(config, "path"));
  TRY(options.storage.endpoint, text_of(config, "endpoint"));
  TRY(options.bucket, text_of(config, "bucket"));
  TRY(options.storage.credentials.access_key, text_of(config, "access_key"));
  TRY(options.storage.credentials.secret_key, text_of(config, "secret_key"));
  options.storage.region = text_or(config, "region", "us-east-1");
  options.prefix = text_or(config, "prefix", "");
  options.lanes = static_cast<int>(std::clamp<std::int64_t>(integer_or(config, "lanes", 8), 1, 64));
  if (options.storage.endpoint.find("://") == std::string::npos) {
    return failure(Code::kInvalidArgument, "endpoint must be a URL such as http://127.0.0.1:9000");
  }
  return options;
}

Result<json> read_json(const fs::path& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  auto parsed = json::parse(text, nullptr, false);
  if (!parsed.is_object()) return failure(Code::kCorruption, path.string() + " is not readable");
  return parsed;
}

constexpr Duration kDiscardPatience = 30s;

// File names are bytes; JSON is UTF-8.
std::string printable(const std::string& path) {
  const auto key = key_of_path("", path);
  return key ? *key : "(a name of " + std::to_string(path.size()) + " bytes)";
}

json list_of(const std::vector<Difference>& differences) {
  json list = json::array();
  for (const auto& [path, why, disk, bucket] : differences) {
    json one = {{"path", printable(path)}, {"why", printable(why)}};
    if (!disk.empty()) one["disk"] = disk;
    if (!bucket.empty()) one["bucket"] = bucket;
    list.push_back(std::move(one));
  }
  return list;
}

const char* state_of(const VerifyStatus& status) {
  if (status.state == VerifyState::kRunning) return "running";
  if (status.state == VerifyState::kFailed) return "failed";
  if (status.report.different.total > 0) return "different";
  return status.report.unsettled.total > 0 ? "unsettled" : "equal";
}

const char* name_of(Direction direction) {
  return direction == Direction::kToDisk ? "to_disk" : "to_bucket";
}

json describe(const SyncStatus& status) {
  json out = {{"state", status.state},
              {"direction", name_of(status.direction)},
              {"files_total", status.files_total},
              {"files_done", status.files_done},
              {"bytes_total", status.bytes_total},
              {"bytes_done", status.bytes_done},
              {"dirty", status.dirty.paths},
              {"oldest_dirty_ms", to_ms(status.dirty.oldest)},
              {"bytes_per_s", static_cast<std::int64_t>(status.bytes_per_s)},
              {"eta_s", status.eta_s ? json(*status.eta_s) : json()},
              {"held_deletes", status.held_deletes},
              {"problems", list_of(status.problems)}};
  if (status.error) {
    out["error"] = status.error->message();
    out["remedy"] = status.error->remedy();
  }
  return out;
}

// The configuration without what is about one call.
json config_of(const json& in) {
  json config = in;
  config.erase("name");
  config.erase("confirm_deletes");
  return config;
}

}  // namespace

FilesService::FilesService(Private, fs::path state_dir) : state_dir_(std::move(state_dir)) {}
FilesService::~FilesService() = default;

Result<std::unique_ptr<FilesService>> FilesService::create(const fs::path& state_dir) {
  auto service = std::make_unique<FilesService>(Private{}, state_dir / "files");
  std::error_code error;
  fs::create_directories(service->state_dir_, error);
  if (error) {
    return failure(Code::kPermission,
                   "creating " + service->state_dir_.string() + ": " + error.message());
  }
  ::chmod(service->state_dir_.c_str(), 0700);
  service->resume_all();
  return service;
}

fs::path FilesService::directory_of(const std::string& name) const {
  std::string safe = s3::uri_encode(name);
  if (safe.starts_with('.')) safe = "%2E" + safe.substr(1);
  return state_dir_ / safe;
}

void FilesService::resume_all() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(state_dir_, error)) {
    if (!fs::exists(entry.path() / "job.json", error)) continue;
    const std::string name = percent_decoded(entry.path().filename().string());
    const auto config = read_json(entry.path() / "job.json");
    const auto launched = config ? launch(name, *config) : std::unexpected(config.error());
    if (!launched) {
      log_error("file mirror cannot go on",
                {{"name", name}, {"error", launched.error().message()}});
    }
  }
}

Result<void> FilesService::launch(const std::string& name, const json& config) {
  TRY(auto options, options_of(config));
  TRY(auto made, FileSync::create(std::move(options), directory_of(name)));
  const std::shared_ptr<FileSync> sync = std::move(made);
  sync->start();
  jobs_.with([&](Jobs& jobs) { jobs[name] = sync; });
  log_info("file mirror started", {{"name", name}});
  return {};
}

Result<std::shared_ptr<FileSync>> FilesService::job(const json& in) {
  TRY(const auto name, text_of(in, "name"));
  return jobs_.with([&](Jobs& jobs) -> Result<std::shared_ptr<FileSync>> {
    const auto at = jobs.find(name);
    if (at == jobs.end()) return failure(Code::kNotFound, "no file mirror is called " + name);
    return at->second;
  });
}

Result<json> FilesService::start(const json& in) {
  TRY(const auto name, text_of(in, "name"));
  const json config = config_of(in);
  TRY(const auto options, options_of(config));
  TRY_VOID(Tree(options.path).root_inode());
  const fs::path directory = directory_of(name);
  const auto running = job(in);
  const auto before = read_json(directory / "job.json");
  if (!running || !before || *before != config) {
    if (running) {
      jobs_.with([&](Jobs& jobs) { jobs.erase(name); });
      (*running)->stop();
    }
    std::error_code error;
    fs::create_directories(directory, error);
    ::chmod(directory.c_str(), 0700);
    TRY_VOID(write_durably(directory / "job.json", config.dump()));
    TRY_VOID(launch(name, config));
  }
  if (const auto most = integer_or(in, "confirm_deletes", 0); most > 0) {
    TRY(const auto sync, job(in));
    sync->confirm_deletes(static_cast<std::size_t>(most));
  }
  return json::object();
}

Result<json> FilesService::status(const json& in) {
  TRY(const auto sync, job(in));
  return describe(sync->status());
}

Result<json> FilesService::verify(const json& in) {
  TRY(const auto sync, job(in));
  const VerifyStatus status = sync->verify(duration_of(in, "wait_ms"));
  const auto& report = status.report;
  json out = {{"state", state_of(status)},
              {"files", report.files},
              {"bytes", report.bytes},
              {"different_total", report.different.total},
              {"different", list_of(report.different.shown)},
              {"unsettled_total", report.unsettled.total},
              {"unsettled", list_of(report.unsettled.shown)}};
  if (status.error) {
    out["error"] = status.error->message();
    out["remedy"] = status.error->remedy();
  }
  return out;
}

Result<json> FilesService::barrier(const json& in) {
  TRY(const auto sync, job(in));
  TRY(const auto report, sync->barrier(duration_of(in, "timeout_ms")));
  return json{{"drained", true}, {"files", report.files}, {"ms", to_ms(report.took)}};
}

Result<json> FilesService::direction(const json& in) {
  TRY(const auto sync, job(in));
  TRY(const auto direction, text_of(in, "direction"));
  if (direction != "to_disk" && direction != "to_bucket") {
    return failure(Code::kInvalidArgument, "direction is to_bucket or to_disk, not " + direction);
  }
  TRY_VOID(sync->set_direction(direction == "to_disk" ? Direction::kToDisk : Direction::kToBucket));
  return json::object();
}

Result<json> FilesService::discard(const json& in) {
  const auto sync = job(in);
  if (!sync) return json{{"removed", 0}, {"kept", 0}, {"done", true}};  // stopped before
  TRY(const auto report, (*sync)->discard(kDiscardPatience));
  return json{{"removed", report.removed}, {"kept", report.kept}, {"done", report.done}};
}

Result<json> FilesService::stop(const json& in) {
  TRY(const auto name, text_of(in, "name"));
  const auto sync = job(in);
  if (sync) {
    (*sync)->stop();
    jobs_.with([&](Jobs& jobs) { jobs.erase(name); });
  }
  std::error_code error;
  fs::remove(directory_of(name) / "job.json", error);
  return json::object();
}

}  // namespace banyan::files
