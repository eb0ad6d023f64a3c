// banyan objects: an S3 endpoint over a directory.
#include <sys/stat.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "app/roles.h"
#include "base/clock.h"
#include "base/log.h"
#include "store/directory_object_store.h"
#include "wire/s3/http_server.h"
#include "wire/s3/server.h"

namespace banyan {
namespace {

Result<std::string> read_secret(const std::string& path) {
  std::ifstream file(path);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.empty()) {
    return std::unexpected(Error(Code::kInvalidArgument, "no secret key in " + path)
                               .with_remedy("write the secret key into the file " + path));
  }
  return text;
}

// Blocked before any thread exists, so that every thread inherits it and only wait() sees them.
class StopSignals {
 public:
  StopSignals() {
    sigemptyset(&set_);
    sigaddset(&set_, SIGTERM);
    sigaddset(&set_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  }
  void wait() const {
    int signal = 0;
    sigwait(&set_, &signal);
  }

 private:
  sigset_t set_{};
};

Result<void> serve_objects(const ObjectsOptions& options) {
  const StopSignals signals;
  const SystemClock clock;
  TRY(auto secret, read_secret(options.secret_key_file));
  TRY(const auto store, store::DirectoryObjectStore::open(options.root));
  s3::S3Server s3(*store, {options.access_key, std::move(secret), ""}, clock);
  TRY(const auto server,
      s3::HttpServer::listen(options.listen, [&](const auto& request, auto& body) {
        return s3.handle(request, body);
      }));
  log_info("objects served",
           {{"listen", options.listen}, {"port", server->port()}, {"root", options.root}});
  signals.wait();
  server->stop();
  return {};
}

}  // namespace

int run_objects(const ObjectsOptions& options) {
  const auto done = serve_objects(options);
  if (done) return 0;
  log_error("objects cannot be served",
            {{"error", done.error().message()}, {"remedy", done.error().remedy()}});
  return 1;
}

}  // namespace banyan
