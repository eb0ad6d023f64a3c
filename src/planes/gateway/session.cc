#include "planes/gateway/session.h"

#include "planes/gateway/worker.h"

namespace banyan::gateway {

Session::Session(Worker& worker) : worker_(worker) {
  worker_.enlist(*this);
  ++worker_.metrics().connections_open;
}

Session::~Session() {
  --worker_.metrics().connections_open;
  worker_.delist(*this);
}

}  // namespace banyan::gateway
