#pragma once
// HTTP probe: one GET, to see whether something answers. Blocking, with a deadline; not a client.

#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "spec/value.h"

namespace banyan::control {

struct ProbeRequest {
  spec::Address address;
  std::string path;
  std::string host;  // Host header
};

// The status code of the answer.
Result<int> probe(const ProbeRequest& request, Duration timeout);

}  // namespace banyan::control
