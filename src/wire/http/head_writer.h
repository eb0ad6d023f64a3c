#pragma once
// Writes a parsed head again for the next hop, into a caller's buffer in one pass.
//
// Upstream: hop-by-hop fields go, the request line becomes origin-form HTTP/1.1, and the gateway
// sets X-Forwarded-For (appended), X-Forwarded-Proto, X-Forwarded-Host, traceparent, x-request-id
// and Via. Downstream: hop-by-hop fields go, Via and Connection are set.
// Framing fields are written from what was decided, never copied.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "wire/http/http1_parser.h"

namespace banyan::http {

// Fast, unpredictable enough for identifiers, not for secrets. One per worker.
class IdSource {
 public:
  explicit IdSource(std::uint64_t seed);
  std::uint64_t next();

 private:
  std::uint64_t a_;
  std::uint64_t b_;
};

// The trace a request belongs to (W3C traceparent) and our span in it.
struct TraceContext {
  std::array<char, 32> trace_id;  // lower-case hex
  std::array<char, 16> span_id;
  std::array<char, 2> flags;
  std::string_view trace() const { return {trace_id.data(), trace_id.size()}; }
};
// Continues the client's valid traceparent, else starts a trace.
TraceContext trace_for(const Head& request, IdSource& ids);

enum class Trust : std::uint8_t { kNo, kYes };
enum class Expect : std::uint8_t { kDrop, kForward };

struct UpstreamRewrite {
  std::string_view client_ip = {};
  std::string_view scheme = "http";             // of the client's connection
  std::string_view host = {};                   // overrides Host when not empty
  std::string_view host_if_none = "localhost";  // for HTTP/1.0 requests that name none
  const TraceContext* trace = nullptr;          // required
  Trust trust_forwarded = Trust::kNo;           // keep the client's X-Forwarded-Proto and -Host
  Expect expect = Expect::kDrop;
  std::string_view more = {};  // complete lines of the gateway's own, each ending in CRLF
};

// How many times more a TRACE or OPTIONS request may be forwarded; at 0 whoever has it answers it
// (RFC 9110, 7.6.2). Nothing: it does not say, or has another method.
std::optional<std::uint32_t> forwards_left(const Head& request);

// Upper bound of what write_upstream_head writes.
std::size_t upstream_head_bytes_max(const Head& request, const UpstreamRewrite& rewrite);
// Returns the bytes written to `out`, which has room for the bound above.
std::size_t write_upstream_head(const Head& request, const UpstreamRewrite& rewrite, char* out);

enum class Persist : std::uint8_t { kKeepAlive, kClose };

struct ClientRewrite {
  Persist persist = Persist::kKeepAlive;
  int client_minor_version = 1;  // an HTTP/1.0 client never sees Transfer-Encoding
  std::string_view hsts = {};    // a Strict-Transport-Security line, ending in CRLF
  std::string_view date = {};    // now, for a response that does not say it
};

std::size_t client_head_bytes_max(const Head& response, const ClientRewrite& rewrite);
// A chunked response to an HTTP/1.0 client must be sent decoded and ended by closing.
std::size_t write_client_head(const Head& response, const ClientRewrite& rewrite, char* out);

// A complete reply made by the gateway itself.
struct OwnReply {
  int status = 502;
  std::string_view body = {};
  int retry_after_s = 0;         // 0: no such field
  std::string_view type = {};    // Content-Type; empty: plain text
  std::string_view fields = {};  // further ones, as lines that end in CRLF
  std::string_view date = {};    // now; empty: not said
  Persist persist = Persist::kKeepAlive;
  Answers answers = Answers::kOther;
};
std::string own_reply(const OwnReply& reply);
// Sends the client elsewhere, without a body.
std::string own_redirect(int status, std::string_view location, std::string_view date,
                         Persist persist);
// "Bad Gateway" for 502; "" for what is not known.
std::string_view reason_phrase(int status);

}  // namespace banyan::http
