#pragma once
// What the gateway knows of gRPC (its "HTTP/2 transport mapping"): deadlines, statuses, and where
// messages begin. Sans-IO.

#include <cstddef>
#include <cstdint>
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
// The content type of gRPC over HTTP/2; gRPC-Web, whose answers end otherwise, is not.
bool is_grpc_type(std::string_view content_type);

// Where the messages end in a body that streams past: each is a byte of flags, four of length, and
// as many as these say.
class GrpcMessages {
 public:
  void take(std::string_view bytes);
  // Only the rest of the message under way; returns how many bytes of it there are.
  std::size_t take_rest(std::string_view bytes);
  // As many as end with a message; between two messages perhaps none, inside one perhaps all.
  std::size_t take_whole(std::string_view bytes);
  bool at_boundary() const { return prefix_ == 0; }
  std::uint64_t count() const { return count_; }  // of whole ones

 private:
  std::size_t step(std::string_view bytes);

  std::size_t prefix_ = 0;  // bytes of flags and length seen of the message under way
  std::uint32_t left_ = 0;  // of what they announce; half known while they are incomplete
  std::uint64_t count_ = 0;
};

}  // namespace banyan::gateway
