#include "control/http_probe.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <cctype>

namespace banyan::control {
namespace {

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

Error probe_error(httplib::Error error, const spec::Address& address) {
  const bool late = error == httplib::Error::Read || error == httplib::Error::Canceled;
  return Error(late ? Code::kTimeout : Code::kUnavailable,
               fmt::format("{}:{} gave no HTTP answer ({})", address.host, address.port,
                           httplib::to_string(error)));
}

httplib::Headers headers_of(const ProbeRequest& request) {
  httplib::Headers headers = {{"Host", request.host},
                              {"Accept", "*/*"},
                              {"Accept-Encoding", "identity"},
                              {"User-Agent", "banyan-probe"},
                              {"Connection", "close"}};
  for (const auto& [name, value] : request.headers) headers.emplace(name, value);
  return headers;
}

httplib::Client client_for(const ProbeRequest& request) {
  const spec::Address& at = request.address;
  if (request.tls_name.empty()) return httplib::Client(at.host, at.port);
  httplib::Client http(fmt::format("https://{}:{}", request.tls_name, at.port));
  http.set_hostname_addr_map({{request.tls_name, at.host}});
  http.enable_server_certificate_verification(false);
  return http;
}

void limit_time(httplib::Client& http, Duration timeout) {
  const auto limit = std::chrono::duration_cast<std::chrono::microseconds>(timeout);
  http.set_connection_timeout(limit);
  http.set_read_timeout(limit);
  http.set_write_timeout(limit);
}

}  // namespace

Result<HttpAnswer> get(const ProbeRequest& request, Duration timeout) {
  httplib::Client http = client_for(request);
  limit_time(http, timeout);
  http.set_url_encode(false);
  http.set_decompress(false);
  const Mono deadline = SystemClock().now() + timeout;
  HttpAnswer answer;
  const auto on_head = [&](const httplib::Response& head) {
    answer.status = head.status;
    for (const auto& [name, value] : head.headers) answer.headers.emplace_back(lower(name), value);
    return true;
  };
  const auto on_body = [&](const char* bytes, std::size_t count) {
    answer.body.append(bytes, std::min(count, kProbeBodyBytesMax - answer.body.size()));
    return answer.body.size() < kProbeBodyBytesMax && SystemClock().now() < deadline;
  };
  const auto done = http.Get(request.path, headers_of(request), on_head, on_body);
  const bool was_cut = answer.body.size() == kProbeBodyBytesMax;
  if (!done && !was_cut) return std::unexpected(probe_error(done.error(), request.address));
  return answer;
}

Result<int> probe(const ProbeRequest& request, Duration timeout) {
  ProbeRequest asked = request;
  asked.headers.emplace_back("X-Forwarded-Proto", "https");
  TRY(const auto answer, get(asked, timeout));
  return answer.status;
}

}  // namespace banyan::control
