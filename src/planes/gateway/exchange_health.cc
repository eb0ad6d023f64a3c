// Exchange, where the gateway itself is a gRPC health service.

#include "planes/gateway/exchange.h"
#include "planes/gateway/grpc_health.h"

namespace banyan::gateway {
namespace {

constexpr Duration kPatience = 10s;
constexpr std::size_t kRequestMost = 4096;
constexpr int kInvalidArgument = 3;  // gRPC statuses
constexpr int kNotFound = 5;
constexpr std::string_view kHead =
    "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ntransfer-encoding: chunked\r\n\r\n";

}  // namespace

// Of the backend with this name, or of the gateway; nothing: there is no such backend.
std::optional<bool> Exchange::is_serving(const std::string& service) {
  if (service.empty()) return !worker_.is_draining();
  for (const Backend* backend : worker_.current_backends())
    if (backend->name() == service) return !worker_.is_draining() && backend->can_serve();
  return std::nullopt;
}

io::Task<Answered> Exchange::answer_health() {
  std::string asked(client_.take_received());
  while (!client_.incoming().done && asked.size() < kRequestMost) {
    const BodyPiece got = co_await client_.read_body(kRequestMost, after(kPatience));
    if (!got.ok() && !client_.incoming().done) co_return Answered::kNotFully;
    asked += got.bytes;
  }
  const std::optional<std::string> service = asked_service(asked);
  const std::optional<bool> serving = service ? is_serving(*service) : std::nullopt;
  if (!serving) {
    const OwnAnswer refusal{.status = 200,
                            .text = service ? "no such service" : "not a health request",
                            .grpc_status = service ? kNotFound : kInvalidArgument};
    co_return co_await send_own(refusal);
  }
  status_ = 200;
  (void)http::parse_response(kHead, http::Answers::kOther, worker_.head());  // it is well formed
  const std::string answer = health_answer(*serving ? Serving::kServing : Serving::kNotServing);
  const BodyPart whole{.bytes = answer, .last = true, .trailers = "grpc-status: 0\r\n"};
  const io::IoResult sent =
      co_await client_.respond(worker_.head(), BodyForm::kPlain, whole, after(kPatience));
  co_return sent.ok() ? Answered::kFully : Answered::kNotFully;
}

}  // namespace banyan::gateway
