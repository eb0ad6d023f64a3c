#pragma once
// What the gateway knows of gRPC (its "HTTP/2 transport mapping"): deadlines and statuses.

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace banyan::gateway {

// Of a grpc-timeout: at most 8 digits and one of H M S m u n; empty: it is not one.
std::optional<Duration> grpc_timeout(std::string_view text);
// The gRPC status that tells a client what this HTTP status would.
int grpc_status_of(int http_status);
// A grpc-message: printable ASCII without '%', the rest percent-encoded.
std::string grpc_message(std::string_view text);

}  // namespace banyan::gateway
