#include "planes/gateway/trace_exporter.h"

#include <httplib.h>

#include <utility>

#include "base/log.h"

namespace banyan::gateway {
namespace {

constexpr auto kGather = 200ms;  // between two looks at what waits
constexpr auto kPatience = std::chrono::seconds(2);

}  // namespace

TraceExporter::~TraceExporter() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void TraceExporter::adopt(const spec::Tracing& tracing) {
  tracing_.change([&](spec::Tracing& now) { now = tracing; });
  if (!tracing.otlp.empty() && !thread_.joinable()) thread_ = std::thread([this] { run(); });
}

void TraceExporter::add(Span span) {
  const bool taken = waiting_.with([&](std::vector<Span>& waiting) {
    if (waiting.size() >= kWaitingMax) return false;
    waiting.push_back(std::move(span));
    return true;
  });
  if (!taken) ++dropped_;
}

void TraceExporter::run() {
  bool last = false;
  while (!last) {
    last = stopping_;
    if (!last) std::this_thread::sleep_for(kGather);
    const auto spans =
        waiting_.with([](std::vector<Span>& waiting) { return std::exchange(waiting, {}); });
    if (!send_all(spans) && stopping_) return;
  }
}

bool TraceExporter::send_all(const std::vector<Span>& spans) {
  bool taken = true;
  for (std::size_t at = 0; at < spans.size() && (taken || !stopping_); at += kBatchMax) {
    const std::size_t size = std::min(kBatchMax, spans.size() - at);
    taken = send(std::span(spans).subspan(at, size));
  }
  return taken;
}

bool TraceExporter::send(std::span<const Span> batch) {
  const spec::Tracing to = tracing_.with([](const spec::Tracing& now) { return now; });
  httplib::Client client(to.otlp);
  client.set_connection_timeout(kPatience);
  client.set_read_timeout(kPatience);
  client.set_write_timeout(kPatience);
  // A path may hold bytes that are no UTF-8.
  const std::string body = otlp_json(batch, to.service_name)
                               .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const auto answer = client.Post("/v1/traces", body, "application/json");
  if (answer && answer->status / 100 == 2) {
    exported_ += batch.size();
    return true;
  }
  dropped_ += batch.size();
  log_warn("spans dropped", {{"collector", to.otlp},
                             {"spans", batch.size()},
                             {"error", answer ? std::to_string(answer->status)
                                              : httplib::to_string(answer.error())}});
  return false;
}

}  // namespace banyan::gateway
