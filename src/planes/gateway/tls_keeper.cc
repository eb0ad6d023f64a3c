#include "planes/gateway/tls_keeper.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "base/log.h"

namespace banyan::gateway {
namespace {

constexpr Duration kPoll = 1s;

}  // namespace

TlsKeeper::TlsKeeper() : watcher_([this](const std::stop_token& stop) { watch(stop); }) {}

Result<std::shared_ptr<io::TlsServer>> TlsKeeper::get(const io::TlsServerOptions& options) {
  return servers_.with([&](auto& servers) -> Result<std::shared_ptr<io::TlsServer>> {
    for (const auto& known : servers) {
      if (known->options() != options) continue;
      TRY_VOID(known->refresh());
      return known;
    }
    TRY(auto made, io::TlsServer::create(options));
    servers.push_back(made);
    return made;
  });
}

void TlsKeeper::adopt(const Routing& routing) {
  servers_.with([&](auto& servers) {
    std::erase_if(servers, [&](const auto& server) {
      return std::ranges::none_of(routing.listeners,
                                  [&](const auto& plan) { return plan->tls == server; });
    });
  });
}

void TlsKeeper::watch(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  while (!stop.stop_requested()) {
    const auto servers = servers_.with([](const auto& now) { return now; });
    for (const auto& server : servers) refresh(*server);
    stopped.wait_for(lock, stop, kPoll, [] { return false; });
  }
}

void TlsKeeper::refresh(io::TlsServer& server) {
  const std::string& first = server.options().certificates.front().certificate;
  const Result<bool> changed = server.refresh();
  if (!changed) {
    ++refused_;
    log_error("new certificates refused; the old ones stay in use",
              {{"certificate", first}, {"error", changed.error().message()}});
  } else if (*changed) {
    log_info("certificates in use",
             {{"certificate", first}, {"expires_in_s", server.expires_in_s()}});
  }
}

}  // namespace banyan::gateway
