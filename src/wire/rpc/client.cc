#include "wire/rpc/client.h"

#include <httplib.h>
#include <sys/socket.h>

#include <thread>

#include "wire/rpc/error_json.h"

namespace banyan::rpc {

using nlohmann::json;

namespace {

Error transport_error(httplib::Error error, const std::string& role) {
  if (error == httplib::Error::Connection)
    return Error(Code::kUnavailable, "the " + role + " is not running", Retry::kSafe)
        .with_remedy("banyan up");
  return Error(Code::kTimeout,
               "the " + role + " gave no answer (" + httplib::to_string(error) + ")", Retry::kSafe);
}

Result<json> parse_answer(const httplib::Response& response) {
  const json out = json::parse(response.body, nullptr, /*allow_exceptions=*/false);
  if (out.is_discarded()) return failure(Code::kInternal, "answer is not JSON");
  if (response.status != 200) return std::unexpected(error_from_json(out));
  return out;
}

}  // namespace

Result<json> Client::call(const std::string& verb, const json& in, Duration timeout) const {
  httplib::Client http(socket_path_);
  http.set_address_family(AF_UNIX);
  http.set_connection_timeout(std::chrono::seconds(2));
  http.set_read_timeout(std::chrono::duration_cast<std::chrono::microseconds>(timeout));
  const auto answer = http.Post("/v1/" + verb, in.dump(), "application/json");
  if (!answer) return std::unexpected(transport_error(answer.error(), role_).with_context(verb));
  return with_context(parse_answer(*answer), role_);
}

bool Client::is_listening() const {
  const auto answer = call("ping", json::object(), 1s);
  return answer || answer.error().retry() == Retry::kNever;
}

Result<json> Client::call_patiently(const std::string& verb, const json& in,
                                    Duration patience) const {
  const Mono deadline = SystemClock().now() + patience;
  while (true) {
    auto answer = call(verb, in);
    const bool again = !answer && answer.error().retry() == Retry::kSafe;
    if (!again || SystemClock().now() > deadline) return answer;
    std::this_thread::sleep_for(50ms);
  }
}

}  // namespace banyan::rpc
