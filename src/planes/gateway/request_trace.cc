#include "planes/gateway/request_trace.h"

#include <algorithm>
#include <charconv>

namespace banyan::gateway {
namespace {

constexpr std::string_view kField = "\r\ntraceparent: 00-";
constexpr std::size_t kPathMax = 1024;

// As write_upstream_head wrote it: behind the trace's 32 digits and a dash.
std::size_t span_at(std::string_view head) {
  const std::size_t field = head.find(kField);
  return field == std::string_view::npos ? field : field + kField.size() + 33;
}

std::string hex16(std::uint64_t value) {
  std::string out(16, '0');
  for (std::size_t i = 16; i > 0; --i, value >>= 4) out[i - 1] = "0123456789abcdef"[value & 15];
  return out;
}

void put_status(Span& span, int status) {
  span.failed = status == 0 || status >= 500;
  if (status != 0) span.numbers.emplace_back("http.response.status_code", status);
  if (status == 0) span.texts.emplace_back("error.type", "no_answer");
  if (status >= 500) span.texts.emplace_back("error.type", std::to_string(status));
}

}  // namespace

std::string_view parent_span(const http::Head& head, const http::TraceContext& trace) {
  const http::Field* const field = head.find(http::FieldId::kTraceparent);
  const bool continues =
      field != nullptr && field->value.size() >= 55 && field->value.substr(3, 32) == trace.trace();
  return continues ? field->value.substr(36, 16) : std::string_view();
}

bool decide_sampling(const http::Head& head, int sample_percent, http::TraceContext& trace) {
  unsigned flags = 0;
  std::from_chars(trace.flags.data(), trace.flags.data() + 2, flags, 16);
  if (!parent_span(head, trace).empty()) return (flags & 1U) != 0;
  // By digits of the id, so that everybody who samples by it decides alike.
  std::uint64_t chance = 0;
  std::from_chars(trace.trace_id.data() + 24, trace.trace_id.data() + 32, chance, 16);
  const bool sampled = chance % 100 < static_cast<std::uint64_t>(sample_percent);
  trace.flags = {'0', sampled ? '1' : '0'};
  return sampled;
}

RequestTrace::RequestTrace(const http::TraceContext& trace, std::string_view parent_id,
                           const Clock& clock)
    : clock_(clock),
      server_{.trace_id = std::string(trace.trace()),
              .id = std::string(trace.span_id.data(), trace.span_id.size()),
              .parent_id = std::string(parent_id),
              .name = {},
              .kind = Span::Kind::kServer,
              .began = clock.wall(),
              .ended = {},
              .texts = {},
              .numbers = {}} {}

void RequestTrace::begin_attempt(std::string& head, http::IdSource& ids) {
  const std::string id = hex16(ids.next() | 1U);  // an id of zeros is none
  if (const std::size_t at = span_at(head); at != std::string::npos) head.replace(at, 16, id);
  attempts_.push_back({.trace_id = server_.trace_id,
                       .id = id,
                       .parent_id = server_.id,
                       .name = {},
                       .kind = Span::Kind::kClient,
                       .began = clock_.wall(),
                       .ended = {},
                       .texts = {},
                       .numbers = {}});
}

void RequestTrace::end_attempt(int status, std::string_view address) {
  Span& span = attempts_.back();
  span.ended = clock_.wall();
  span.texts.emplace_back("server.address", address);
  put_status(span, status);
  const auto earlier = static_cast<std::int64_t>(attempts_.size()) - 1;
  if (earlier > 0) span.numbers.emplace_back("http.request.resend_count", earlier);
}

void RequestTrace::finish(const Request& request, const End& end, TraceExporter& to) {
  server_.ended = clock_.wall();
  server_.name = std::string(request.method);
  for (Span& attempt : attempts_) {
    attempt.name = server_.name;
    attempt.texts.emplace_back("http.request.method", request.method);
    to.add(std::move(attempt));
  }
  if (!end.route.empty()) server_.name.append(" ").append(end.route);
  server_.texts = {{"http.request.method", std::string(request.method)},
                   {"url.scheme", std::string(request.scheme)},
                   {"server.address", std::string(request.host)},
                   {"url.path", std::string(request.path.substr(0, kPathMax))}};
  if (!end.route.empty()) server_.texts.emplace_back("http.route", end.route);
  if (!end.problem.empty()) server_.texts.emplace_back("banyan.reason", end.problem);
  put_status(server_, end.status);
  to.add(std::move(server_));
}

}  // namespace banyan::gateway
