#pragma once
// The messages of grpc.health.v1.Health/Check, with the five bytes that frame a gRPC message:
// the gateway asks backends, and answers for itself. Any bytes are acceptable input.
// Source: grpc/doc/health-checking.md, and protobuf's "Encoding".

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace banyan::gateway {

inline constexpr std::string_view kHealthCheckPath = "/grpc.health.v1.Health/Check";

enum class Serving : std::uint8_t { kUnknown, kServing, kNotServing, kServiceUnknown };

// `service`: at most 127 bytes; empty: the whole server.
std::string health_request(std::string_view service);
std::string health_answer(Serving status);
// Empty: not one whole, uncompressed message of this kind.
std::optional<std::string> asked_service(std::string_view framed);
std::optional<Serving> told_status(std::string_view framed);

}  // namespace banyan::gateway
