#pragma once
// TlsKeeper: the certificates of all listeners. Listeners with equal options share one TlsServer,
// and keep it over snapshots, so that session tickets stay good. Once a second it reads files that
// changed; what does not fit is refused, logged and counted, and the old certificates stay in use.
// Any thread.

#include <atomic>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

#include "base/guarded.h"
#include "io/tls.h"
#include "planes/gateway/routing.h"

namespace banyan::gateway {

class TlsKeeper {
 public:
  TlsKeeper();
  TlsKeeper(const TlsKeeper&) = delete;
  TlsKeeper& operator=(const TlsKeeper&) = delete;

  // The one in use with these options, read again if its files changed; else a new one.
  Result<std::shared_ptr<io::TlsServer>> get(const io::TlsServerOptions& options);
  // What no listener of `routing` uses is forgotten.
  void adopt(const Routing& routing);
  std::int64_t refused() const { return refused_; }

 private:
  void watch(const std::stop_token& stop);
  void refresh(io::TlsServer& server);

  Guarded<std::vector<std::shared_ptr<io::TlsServer>>> servers_;
  std::atomic<std::int64_t> refused_ = 0;  // sets of files that did not fit together
  std::jthread watcher_;
};

}  // namespace banyan::gateway
