// FUZZ SOURCES: wire/s3/signer.cc wire/s3/encoding.cc base/percent.cc base/clock.cc
// FUZZ LINK: crypto
// What is signed, by header or by URL, is verified; nothing else is, whatever its claims look like.

#include <string>

#include "base/check.h"
#include "wire/s3/signer.h"

namespace {

using namespace banyan;      // NOLINT(google-build-using-namespace)
using namespace banyan::s3;  // NOLINT(google-build-using-namespace)

const Wall kNow = Wall{} + std::chrono::hours(24 * 365 * 50);
const Credentials kKeys{.access_key = "key", .secret_key = "secret", .session_token = ""};

std::string_view take_line(std::string_view& text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  text.remove_prefix(std::min(text.size(), line.size() + 1));
  return line;
}

// Lines: method, path, query, then "name:value" headers.
SignableRequest request_of(std::string_view text) {
  SignableRequest out{
      .method = std::string(take_line(text)), .path = {}, .query = {}, .headers = {}};
  out.path = take_line(text);
  out.query = take_line(text);
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos)
      out.headers.emplace_back(line.substr(0, colon), line.substr(colon + 1));
  }
  return out;
}

bool is_name(std::string_view name) {
  return !name.empty() &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_") == std::string_view::npos;
}

// Another one with the same meaning to the signature would be no finding.
bool is_plain(const SignableRequest& request) {
  for (const auto& [name, value] : request.headers)
    if (name.starts_with("x-amz-") || name == "authorization" || name == "date" || !is_name(name))
      return false;
  for (const auto& [name, value] : parse_query(request.query))
    if (name.starts_with("X-Amz-")) return false;
  return find_header(request.headers, "host") != nullptr;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const SignableRequest request = request_of({reinterpret_cast<const char*>(data), size});
  const Verifier verifier(kKeys);
  CHECK(!verifier.verify(request, kNow));
  if (!is_plain(request)) return 0;

  const Signer signer(kKeys, "eu-west-1");
  SignableRequest by_header = request;
  signer.sign(by_header, kUnsignedPayload, kNow);
  CHECK(verifier.verify(by_header, kNow));
  by_header.method += 'X';
  CHECK(!verifier.verify(by_header, kNow));

  SignableRequest by_url = request;
  by_url.query = signer.presign(request, kNow, std::chrono::seconds(60));
  CHECK(verifier.verify(by_url, kNow));
  CHECK(!verifier.verify(by_url, kNow + std::chrono::seconds(61)));
  by_url.path += 'X';
  CHECK(!verifier.verify(by_url, kNow));
  return 0;
}
