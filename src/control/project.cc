#include "control/project.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>

#include "base/check.h"
#include "base/hex.h"

namespace banyan::control {
namespace {

std::string random_hex(std::size_t bytes) {
  std::string raw(bytes, '\0');
  CHECK(::getrandom(raw.data(), raw.size(), 0) == static_cast<ssize_t>(raw.size()));
  return hex(raw);
}

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// A new file that only its owner may read; kConflict when it is there already.
Result<void> create_private(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return failure(Code::kConflict, "cannot create " + path);
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  ::fsync(fd);
  ::close(fd);
  if (!written) return failure(Code::kUnavailable, "cannot write " + path);
  return {};
}

// The secret in the file, made when the file is not there; two callers agree on one secret.
Result<std::string> secret_in(const std::string& path) {
  const auto made = create_private(path, random_hex(20));
  if (!made && made.error().code() != Code::kConflict) return std::unexpected(made.error());
  std::string secret = read_file(path);
  if (secret.empty()) return failure(Code::kPermission, "cannot read " + path);
  return secret;
}

// The spec's secret where the embedded endpoint reads it; replaced when the spec's changed.
Result<void> publish_secret(const std::string& path, const std::string& secret) {
  if (read_file(path) == secret) return {};
  ::unlink(path.c_str());
  return create_private(path, secret);
}

}  // namespace

Result<BucketKeys> bucket_keys(const Project& project, const spec::Spec& spec,
                               const spec::Bucket& bucket) {
  const std::string file = project.layout().state_dir() + "/bucket-" + bucket.name + ".key";
  if (bucket.access_key && bucket.secret_key) {
    TRY(auto access, spec::resolve(spec, *bucket.access_key));
    TRY(auto secret, spec::resolve(spec, *bucket.secret_key));
    if (bucket.root) TRY_VOID(publish_secret(file, secret));
    return BucketKeys{std::move(access), std::move(secret), file};
  }
  TRY(auto secret, secret_in(file));
  return BucketKeys{"banyan-" + bucket.name, std::move(secret), file};
}

Result<std::map<std::string, std::string>> service_environment(const Project& project,
                                                               const spec::Spec& spec,
                                                               const spec::Service& service) {
  TRY(auto environment, spec::environment(spec, service));
  for (const spec::Bind& bind : service.bind) {
    if (bind.kind != spec::Bind::Kind::kBucket || bind.variable != "AWS_*") continue;
    TRY(const auto keys, bucket_keys(project, spec, spec.buckets.at(bind.name)));
    environment["AWS_ACCESS_KEY_ID"] = keys.access_key;
    environment["AWS_SECRET_ACCESS_KEY"] = keys.secret_key;
  }
  return environment;
}

}  // namespace banyan::control
