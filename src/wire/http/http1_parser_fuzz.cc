// FUZZ SOURCES: wire/http/http1_parser.cc wire/http/field_parser.cc wire/http/field_id.cc
// FUZZ SOURCES: wire/http/text.cc wire/http/desync.cc wire/http/head_writer.cc wire/http/path.cc
// Whatever the parser accepts, written again for upstream, parses to the same request.

#include <cstdlib>
#include <string>

#include "base/check.h"
#include "wire/http/desync.h"
#include "wire/http/head_writer.h"
#include "wire/http/http1_parser.h"
#include "wire/http/path.h"

namespace {

using namespace banyan::http;  // NOLINT(google-build-using-namespace)

void check_rewritten(const Head& head) {
  IdSource ids(1);
  const TraceContext trace = trace_for(head, ids);
  const UpstreamRewrite rewrite{.client_ip = "127.0.0.1", .trace = &trace};
  std::string out(upstream_head_bytes_max(head, rewrite), '\0');
  out.resize(write_upstream_head(head, rewrite, out.data()));
  static Head again;
  const Parsed parsed = parse_request(out, again, {.head_bytes_max = 1 << 20});
  // The gateway adds up to seven fields, so only a full head may not fit again.
  if (parsed.outcome == Outcome::kRefused && head.fields().size() > kFieldsMax - 8) return;
  CHECK(parsed.outcome == Outcome::kComplete);
  CHECK(parsed.size == out.size());
  CHECK(again.method == head.method && again.path == head.path);
  CHECK(again.framing == head.framing);
  // What is written anew is read alike by all; only its method may be strange with a body.
  CHECK((again.oddities & ~(kBodyWithoutMeaning | kZeroLengthWithoutMeaning | kNonAscii)) == 0);
  CHECK(head.framing != Framing::kLength || again.content_length == head.content_length);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  static Head head;
  const Parsed request = parse_request(bytes, head);
  if (request.outcome == Outcome::kComplete) {
    CHECK(request.size <= bytes.size());
    check_rewritten(head);
    std::string scratch;
    (void)normal_path(head.path, scratch);  // must only not crash
    // No shorter prefix may be accepted or refused.
    CHECK(parse_request(bytes.substr(0, request.size - 1), head).outcome == Outcome::kIncomplete);
  }
  const Parsed response = parse_response(bytes, Answers::kOther, head);
  if (response.outcome == Outcome::kComplete) {
    const ClientRewrite rewrite{.hsts = "strict-transport-security: max-age=1\r\n",
                                .date = "Fri, 20 Nov 2026 21:30:00 GMT"};
    std::string out(client_head_bytes_max(head, rewrite), '\0');
    CHECK(write_client_head(head, rewrite, out.data()) <= out.size());
  }
  return 0;
}
