#pragma once
// HTTP probe: one GET over a connection of its own, as a browser without cookies would send it.
// Blocking. Redirects are not followed, bodies are not unpacked and are cut at kProbeBodyBytesMax.

#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "spec/value.h"

namespace banyan::control {

inline constexpr std::size_t kProbeBodyBytesMax = 4 << 20;

struct ProbeRequest {
  spec::Address address;
  std::string path;
  std::string host;                                               // Host header
  std::vector<std::pair<std::string, std::string>> headers = {};  // further ones
  std::string tls_name = {};  // not empty: over TLS, asking for this server; anybody is believed
};

struct HttpAnswer {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::string body;
};

// kUnavailable: nobody is there, or does not speak HTTP. kTimeout: no whole answer in time.
Result<HttpAnswer> get(const ProbeRequest& request, Duration timeout);
// The status code of the answer, asked for as over TLS.
Result<int> probe(const ProbeRequest& request, Duration timeout);

}  // namespace banyan::control
