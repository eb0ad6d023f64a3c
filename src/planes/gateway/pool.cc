#include "planes/gateway/pool.h"

#include <algorithm>

#include "base/log.h"
#include "planes/gateway/http1_upstream.h"
#include "planes/gateway/http2_upstream.h"

namespace banyan::gateway {
namespace {

// Between two lines of the log about one endpoint: of the same trouble, of another one.
constexpr Duration kTellAgain = 60s;
constexpr Duration kTellAnother = 1s;

}  // namespace

Endpoint::Endpoint(io::Loop& loop, std::string backend, const EndpointPlan& plan,
                   h2::WindowBudget& windows)
    : loop_(loop), backend_(std::move(backend)), windows_(windows), ewma_(loop.now()) {
  adopt(plan);
}

// Connections that were made in another way are not used again.
void Endpoint::adopt(const EndpointPlan& plan) {
  if (plan_.tls_options() != plan.tls_options() || plan_.http2 != plan.http2)
    close_idle(io::kNever);
  plan_ = plan;
  load.local = plan.local;
  load.backup = plan.backup;
  load.identity = balance_key(plan.address);
  retired = false;
}

void Endpoint::note_failure(bool may_eject) {
  ejection_.note_failure(loop_.now(), may_eject);
  ewma_.observe_failure(Duration::zero(), Duration::zero(), loop_.now());
}

void Endpoint::note_answer(const EndpointAnswer& answer, bool may_eject) {
  ejection_.note_answer(answer.status, loop_.now(), may_eject);
  if (answer.status >= 500 || answer.status == 429)
    ewma_.observe_failure(answer.took, answer.retry_after, loop_.now());
  else
    ewma_.observe(answer.took, loop_.now());
}

float Endpoint::weight(Duration slow_start, Mono now) const {
  const auto full = static_cast<float>(plan_.weight);
  const Duration age = now - started_;
  if (started_ == Mono{} || age >= slow_start) return full;
  const float share = static_cast<float>(age.count()) / static_cast<float>(slow_start.count());
  return full * std::max(0.1F, share);
}

Endpoint::~Endpoint() = default;

std::unique_ptr<Upstream> Endpoint::take_idle() {
  if (plan_.http2) return open_stream();
  if (idle_.empty()) return nullptr;
  std::unique_ptr<Upstream> upstream = std::move(idle_.back());
  idle_.pop_back();
  upstream->set_idle(false);
  return upstream;
}

std::unexpected<Error> Endpoint::unreachable(const Error& error) {
  const Mono now = loop_.now();
  if (now - told_at_ >= (error.message() == told_ ? kTellAgain : kTellAnother)) {
    told_ = error.message();
    told_at_ = now;
    log_warn("endpoint cannot be connected to",
             {{"backend", backend_}, {"address", address()}, {"error", told_}});
  }
  return std::unexpected(error);
}

io::Task<Result<std::unique_ptr<Upstream>>> Endpoint::connect(Mono deadline) {
  if (plan_.http2) {
    auto link = std::make_shared<Http2Link>(loop_, plan_, windows_);
    const Result<void> linked = co_await link->connect(deadline);
    if (!linked) co_return unreachable(linked.error());
    links_.push_back(link);
    co_return std::unique_ptr<Upstream>(std::make_unique<Http2Upstream>(*this, std::move(link)));
  }
  auto upstream = std::make_unique<Http1Upstream>(loop_, *this);
  const Result<void> connected = co_await upstream->connect(plan_, deadline);
  if (!connected) co_return unreachable(connected.error());
  co_return std::unique_ptr<Upstream>(std::move(upstream));
}

void Endpoint::give_back(std::unique_ptr<Upstream> upstream) {
  if (retired || load.draining || idle_.size() >= kIdleConnectionsMax) return;
  ++upstream->served_;
  upstream->idle_since_ = loop_.now();
  upstream->set_idle(true);
  idle_.push_back(std::move(upstream));
}

void Endpoint::close_idle(Mono idle_before) {
  std::erase_if(idle_, [&](const auto& upstream) { return upstream->idle_since_ < idle_before; });
  std::erase_if(links_, [](const auto& link) { return link->is_over(); });
  for (const auto& link : links_)
    if (link->is_idle() && link->idle_since() < idle_before) link->leave();
}

std::unique_ptr<Upstream> Endpoint::open_stream() {
  for (const auto& link : links_)
    if (link->has_room()) return std::make_unique<Http2Upstream>(*this, link);
  return nullptr;
}

void Endpoint::close_links() {
  for (const auto& link : links_) link->cancel();
}

std::size_t Endpoint::links() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(links_, [](const auto& link) { return link.use_count() > 1; }));
}

void Endpoint::drop_idle(const Upstream& upstream) {
  std::erase_if(idle_, [&](const auto& idle) { return idle.get() == &upstream; });
}

}  // namespace banyan::gateway
