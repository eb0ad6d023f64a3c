#include "planes/gateway/session.h"

#include <fmt/format.h>
#include <unistd.h>

#include "base/log.h"
#include "planes/gateway/exchange.h"

namespace banyan::gateway {
namespace {

constexpr Duration kReplyTime = 5s;           // to hand a short reply to the kernel
constexpr Duration kLingerTime = 2s;          // for the client to read a reply while it sends
constexpr std::size_t kHeadRead = 64 * 1024;  // bounds what one client may pipeline at once
constexpr std::size_t kLingerBytes = 1 << 20;
constexpr std::size_t kInboxKept = 4 * 1024;  // an idle connection keeps no larger buffer

}  // namespace

io::Detached Session::serve(Worker& worker, int fd) {
  Session session(worker, fd);
  if (session.client_.is_open()) co_await session.run();
}

Session::Session(Worker& worker, int fd)
    : worker_(worker), client_(worker.loop()), client_ip_(io::Address::of_peer(fd).host()) {
  worker_.enlist(*this);
  ++worker_.metrics().connections_open;
  if (!client_.adopt(fd)) ::close(fd);
}

Session::~Session() {
  --worker_.metrics().connections_open;
  worker_.delist(*this);
}

void Session::close_if_idle() {
  if (idle_) client_.cancel();
}

void Session::cancel() {
  client_.cancel();
  if (exchange_ != nullptr) exchange_->cancel();
}

io::Task<void> Session::run() {
  Fate fate = Fate::kPersist;
  while (fate == Fate::kPersist) {
    const HeadEnd end = co_await receive_head();
    if (end == HeadEnd::kGone) co_return;
    if (end == HeadEnd::kComplete) {
      fate = co_await answer();
    } else if (end == HeadEnd::kRefused) {
      fate = co_await refuse(refused_status_, refused_reason_);
    } else {
      fate = co_await refuse(408, "head not received in time");
    }
  }
  if (fate == Fate::kLinger) co_await linger();
}

io::Task<Session::HeadEnd> Session::receive_head() {
  const LimitsSpec& limits = worker_.routing()->snapshot.limits;
  const Duration head_time = limits.head_ms;
  Mono deadline = worker_.loop().now() + (inbox_.empty() ? limits.idle_ms : limits.head_ms);
  while (true) {
    if (!inbox_.empty()) {
      const HeadEnd parsed = parse_head();
      if (parsed != HeadEnd::kGone) co_return parsed;
    }
    idle_ = inbox_.empty();
    const std::span<char> scratch = worker_.loop().scratch().first(kHeadRead);
    const io::IoResult got = co_await client_.recv(scratch, deadline);
    const bool was_idle = std::exchange(idle_, false);
    if (got.status == io::IoStatus::kTimeout && !was_idle) co_return HeadEnd::kLate;
    if (!got.ok()) co_return HeadEnd::kGone;
    if (was_idle) deadline = worker_.loop().now() + head_time;
    inbox_.append(scratch.data(), got.bytes);
  }
}

// kGone stands for "not yet complete".
Session::HeadEnd Session::parse_head() {
  const http::HeadLimits limits{
      .head_bytes_max = static_cast<std::size_t>(worker_.routing()->snapshot.limits.head_bytes)};
  const std::size_t seen = std::exchange(inspected_, inbox_.size());
  if (!http::head_may_be_complete(inbox_, seen, limits)) return HeadEnd::kGone;
  const http::Parsed parsed = http::parse_request(inbox_, worker_.head(), limits);
  if (parsed.outcome == http::Outcome::kIncomplete) return HeadEnd::kGone;
  inspected_ = 0;
  head_size_ = parsed.size;
  refused_status_ = parsed.status;
  refused_reason_ = parsed.reason;
  return parsed.outcome == http::Outcome::kComplete ? HeadEnd::kComplete : HeadEnd::kRefused;
}

io::Task<Fate> Session::answer() {
  Exchange exchange(*this, worker_.head());
  inbox_.erase(0, head_size_);
  if (inbox_.empty() && inbox_.capacity() > kInboxKept) inbox_.shrink_to_fit();
  exchange_ = &exchange;
  const Fate fate = co_await exchange.run();
  exchange_ = nullptr;
  inspected_ = 0;
  co_return fate;
}

io::Task<Fate> Session::refuse(int status, const char* reason) {
  worker_.metrics().count_refused(reason);
  worker_.metrics().count_own_reply(status);
  const std::string text = fmt::format("{} {}: {}\n", status, http::reason_phrase(status), reason);
  const std::string reply = http::own_reply({.status = status,
                                             .body = text,
                                             .retry_after_s = 0,
                                             .persist = http::Persist::kClose,
                                             .answers = http::Answers::kOther});
  const Mono deadline = worker_.loop().now() + kReplyTime;
  const io::IoResult sent = co_await client_.send(reply, deadline);
  co_return sent.ok() ? Fate::kLinger : Fate::kClose;
}

io::Task<void> Session::linger() {
  client_.shutdown_send();
  const Mono deadline = worker_.loop().now() + kLingerTime;
  std::size_t read = 0;
  while (read < kLingerBytes) {
    const io::IoResult got = co_await client_.recv(worker_.loop().scratch(), deadline);
    if (!got.ok()) co_return;
    read += got.bytes;
  }
}

}  // namespace banyan::gateway
