// Exchange, where the gateway itself answers: refusals, redirects, fixed responses.

#include <fmt/format.h>

#include "planes/gateway/exchange.h"
#include "planes/gateway/grpc.h"
#include "planes/gateway/rewrite.h"

namespace banyan::gateway {

Exchange::Problem Exchange::problem_of(AttemptEnd end) {
  switch (end) {
    case AttemptEnd::kNoRoute:
      return {404, "nothing is published at this address"};
    case AttemptEnd::kNoPlace:
      return {503, "the service is at its limit; try again shortly", 1};
    case AttemptEnd::kNoEndpoint:
      return {503, "no instance of the service is available; try again shortly", 1};
    case AttemptEnd::kUnreachable:
      return {502, "the service cannot be reached; try again shortly"};
    case AttemptEnd::kDied:
      return {502, "the service closed the connection without an answer"};
    case AttemptEnd::kLate:
      return {504, "the service did not answer in time"};
    case AttemptEnd::kLeft:
      return {503, "the call was ended so that it is made again where its route leads now"};
    case AttemptEnd::kBodyMalformed:
      return {400, "the body's chunks or trailers are malformed"};
    case AttemptEnd::kBodyTooLarge:
      return {413, "the body is larger than this service accepts"};
    case AttemptEnd::kBodyLate:
      return {408, "the body did not arrive in time"};
    default:
      return {502, "the service gave an answer that is not valid HTTP"};
  }
}

io::Task<Answered> Exchange::reply(Problem problem) {
  reason_ = problem.text;
  worker_.metrics().count_own_reply(problem.status);
  const std::string text =
      fmt::format("{} {}: {}\n", problem.status, http::reason_phrase(problem.status), problem.text);
  co_return co_await send_own({.status = problem.status,
                               .text = is_grpc_ ? std::string_view(problem.text) : text,
                               .retry_after_s = problem.retry_after_s,
                               .grpc_status = is_grpc_ ? grpc_status_of(problem.status) : 0});
}

// What the route's redirect or fixed response says.
io::Task<Answered> Exchange::answer_by_rule() {
  const spec::RouteRules& rules = route_->spec.rules;
  if (rules.respond && rules.respond->grpc_health) co_return co_await answer_health();
  std::string fields;
  if (rules.redirect) {
    fields = "location: " + expanded_location(rules.redirect->location, route_->spec, facts(false),
                                              client_.scheme(), authority(), target_);
    fields += "\r\n";
  }
  for (const spec::NameValue& field : rules.headers.response.set)
    fields += field.name + ": " + field.value + "\r\n";
  for (const spec::NameValue& field : rules.headers.response.add)
    fields += field.name + ": " + field.value + "\r\n";
  const spec::Respond* const respond =
      rules.respond
          ? &*rules.respond
          : (rules.fallback && rules.fallback->respond ? &*rules.fallback->respond : nullptr);
  OwnAnswer answer{.status = rules.redirect ? rules.redirect->status : 503, .fields = fields};
  if (!rules.redirect && respond != nullptr) {
    answer.status = respond->status;
    answer.text = respond->body;
    answer.type = respond->type;
  }
  co_return co_await send_own(answer);
}

// The client asked how far its request comes (Max-Forwards): so far. TRACE would show it fields
// that are not its own.
io::Task<Answered> Exchange::answer_as_final_recipient() {
  if (method_ != "OPTIONS")
    co_return co_await reply({501, "the gateway itself does not answer TRACE"});
  co_return co_await send_own({.status = 200});
}

io::Task<Answered> Exchange::send_own(OwnAnswer answer) {
  status_ = answer.status;
  bytes_out_ += answer.text.size();
  const io::IoResult sent = co_await client_.reply(answer, after(kReplyTime));
  co_return sent.ok() ? Answered::kFully : Answered::kNotFully;
}

}  // namespace banyan::gateway
