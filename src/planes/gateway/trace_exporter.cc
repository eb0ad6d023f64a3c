#include "planes/gateway/trace_exporter.h"

#include <httplib.h>

#include <utility>

#include "base/log.h"

namespace banyan::gateway {
namespace {

constexpr Duration kGather = 200ms;  // between two looks at what waits
constexpr Duration kPauseMax = 10s;
constexpr auto kPatience = std::chrono::seconds(2);

// OTLP/HTTP: these answers may be different next time.
bool is_for_later(int status) {
  return status == 429 || (status >= 502 && status <= 504);
}

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
  Duration pause = kGather;
  bool last = false;
  while (!last) {
    last = stopping_;
    if (!last) rest(pause);
    pause = send_waiting(pause);
  }
}

// Over at once when the exporter stops.
void TraceExporter::rest(Duration pause) {
  for (Duration slept{}; slept < pause && !stopping_; slept += kGather)
    std::this_thread::sleep_for(kGather);
}

// How long to rest before the next time.
Duration TraceExporter::send_waiting(Duration pause) {
  const auto spans =
      waiting_.with([](std::vector<Span>& waiting) { return std::exchange(waiting, {}); });
  std::span<const Span> left(spans);
  while (!left.empty()) {
    const auto batch = left.first(std::min(kBatchMax, left.size()));
    if (send(batch) == Sent::kLater) {
      keep(left);
      return std::min<Duration>(2 * pause, kPauseMax);
    }
    left = left.subspan(batch.size());
  }
  return kGather;
}

// The last ones before those that have come since; when it stops there is no next time.
void TraceExporter::keep(std::span<const Span> spans) {
  const std::size_t kept = stopping_ ? 0 : std::min(spans.size(), kKeptMax);
  const auto from = spans.last(kept);
  waiting_.with([&](std::vector<Span>& waiting) {
    waiting.insert(waiting.begin(), from.begin(), from.end());
  });
  if (kept < spans.size()) drop(spans.size() - kept, "the collector is away");
}

void TraceExporter::drop(std::size_t spans, const std::string& why) {
  dropped_ += spans;
  log_warn("spans dropped", {{"spans", spans}, {"error", why}});
}

TraceExporter::Sent TraceExporter::send(std::span<const Span> batch) {
  const spec::Tracing to = tracing_.with([](const spec::Tracing& now) { return now; });
  httplib::Client client(to.otlp);
  client.set_connection_timeout(kPatience);
  client.set_read_timeout(kPatience);
  client.set_write_timeout(kPatience);
  if (!to.ca.empty()) client.set_ca_cert_path(to.ca);
  // A path may hold bytes that are no UTF-8.
  const std::string body = otlp_json(batch, to.service_name)
                               .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const auto answer = client.Post("/v1/traces", body, "application/json");
  if (answer && answer->status / 100 == 2) {
    exported_ += batch.size();
    if (std::exchange(away_, false)) log_info("spans are sent again", {{"collector", to.otlp}});
    return Sent::kTaken;
  }
  const bool refused = answer && !is_for_later(answer->status);
  const std::string why =
      answer ? std::to_string(answer->status) : httplib::to_string(answer.error());
  if (refused) {
    drop(batch.size(), why);
    return Sent::kRefused;
  }
  if (!std::exchange(away_, true))
    log_warn("spans wait for their collector", {{"collector", to.otlp}, {"error", why}});
  return Sent::kLater;
}

}  // namespace banyan::gateway
