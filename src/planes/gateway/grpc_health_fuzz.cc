// FUZZ SOURCES: planes/gateway/grpc_health.cc
// What is read as a request is written again as the same one.
#include <cstddef>
#include <cstdint>

#include "planes/gateway/grpc_health.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view in(reinterpret_cast<const char*>(data), size);
  const auto service = banyan::gateway::asked_service(in);
  (void)banyan::gateway::told_status(in);
  if (service && service->size() < 128 &&
      banyan::gateway::asked_service(banyan::gateway::health_request(*service)) != service)
    __builtin_trap();
  return 0;
}
