#pragma once
// FilesService: the files.* verbs of the agent: mirrors directories into buckets and back.
//
// JSON in, JSON out; every verb is idempotent. Jobs are remembered in state_dir (0600, they hold
// the secret key) and go on by themselves when the service is created again, after kill -9 too.
// Thread-safe; verbs of different jobs do not wait for one another.

#include <filesystem>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/guarded.h"

namespace banyan::files {

class FileSync;

class FilesService {
 public:
  // Resumes the jobs remembered in `state_dir`.
  static Result<std::unique_ptr<FilesService>> create(const std::filesystem::path& state_dir);
  ~FilesService();
  FilesService(const FilesService&) = delete;

  // {name,path,endpoint,bucket,prefix,region,access_key,secret_key[,lanes][,confirm_deletes]} -> {}
  // confirm_deletes: how many deletes, held back because they were too many, may be carried out.
  Result<nlohmann::json> start(const nlohmann::json& in);
  // {name} -> {state,files_total,files_done,bytes_total,bytes_done,dirty,oldest_dirty_ms,eta_s,
  //            bytes_per_s,direction,held_deletes,problems:[..],error?,remedy?}
  Result<nlohmann::json> status(const nlohmann::json& in);
  // {name,wait_ms} -> {state:"running|equal|different|unsettled|failed",files,bytes,
  //                    different_total,different:[{path,why,disk,bucket}],
  //                    unsettled_total,unsettled:[..]}
  // Files on their way are waited for while some arrive, at most wait_ms (at least 10 s); those
  // that are still on their way then are unsettled. The lists show at most 1000.
  Result<nlohmann::json> verify(const nlohmann::json& in);
  // {name,timeout_ms} -> {drained:true,files,ms}
  Result<nlohmann::json> barrier(const nlohmann::json& in);
  // {name,direction:"to_bucket|to_disk"} -> {}
  Result<nlohmann::json> direction(const nlohmann::json& in);
  // {name} -> {removed, kept, done}: ends the mirror and removes from the bucket what it uploaded
  // and nobody changed since, also the parts of unfinished uploads. Works at most 30 s; done:false:
  // ask again. Kept whole when the mirror ever ran to_disk: an application wrote to the bucket
  // then.
  Result<nlohmann::json> discard(const nlohmann::json& in);
  // {name} -> {}; the manifest stays, start() continues from it
  Result<nlohmann::json> stop(const nlohmann::json& in);

 private:
  struct Private {};

 public:
  FilesService(Private, std::filesystem::path state_dir);

 private:
  using Jobs = std::map<std::string, std::shared_ptr<FileSync>>;
  std::filesystem::path directory_of(const std::string& name) const;
  Result<std::shared_ptr<FileSync>> job(const nlohmann::json& in);
  Result<void> launch(const std::string& name, const nlohmann::json& config);
  void resume_all();

  const std::filesystem::path state_dir_;
  Guarded<Jobs> jobs_;
};

}  // namespace banyan::files
