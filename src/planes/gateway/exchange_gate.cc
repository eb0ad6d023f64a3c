// Exchange, at the gate: let in, refused, or held while its body is read.

#include <algorithm>

#include "planes/gateway/exchange.h"

namespace banyan::gateway {
namespace {

constexpr std::size_t kReadWhileHeld = 64 * 1024;  // at once

}  // namespace

Exchange::Entry Exchange::enter() {
  Entrance entrance = worker_.hold().admit(
      route_->index, {.kind = is_safe() && !is_upgrade_ ? PassKind::kRead : PassKind::kWrite,
                      .head_bytes = std::ssize(request_head_),
                      .body_bytes = std::ssize(first_body_),
                      .client = client_.ip()});
  if (Pass* const pass = std::get_if<Pass>(&entrance)) {
    pass_ = std::move(*pass);
    return Entry::kInside;
  }
  if (const HoldRefusal* const refusal = std::get_if<HoldRefusal>(&entrance)) {
    refusal_ = *refusal;
    return Entry::kRefused;
  }
  ticket_ = std::move(std::get<std::unique_ptr<Ticket>>(entrance));
  return Entry::kQueued;
}

io::Task<Exchange::Entry> Exchange::wait_in_queue() {
  ticket_->on_ready = [this](Admission admission) {
    admission_ = std::move(admission);
    changed_.set();
    client_.stop_reading();
  };
  const Mono since = ticket_->since();
  worker_.rearm_hold();
  client_.set_observer(this);
  bool present = true;
  while (present && !admission_ && !is_patience_over()) present = co_await wait_for_change();
  client_.set_observer(nullptr);
  held_ = worker_.clock().now() - since;
  // A client that has gone leaves without being sent: destroying the ticket, or the pass, says so.
  ticket_.reset();
  if (!present || client_gone_ || client_.is_gone()) co_return Entry::kGone;
  if (is_patience_over()) {
    admission_.reset();
    co_return Entry::kLate;
  }
  if (const HoldRefusal* const refusal = std::get_if<HoldRefusal>(&*admission_)) {
    refusal_ = *refusal;
    co_return Entry::kRefused;
  }
  pass_ = std::move(std::get<Pass>(*admission_));
  co_return Entry::kInside;
}

// Whoever asked with a deadline is not sent on behind it: it has been told by its own clock.
Mono Exchange::patient_until() const {
  return grpc_timeout_ ? started_ + *grpc_timeout_ : io::kNever;
}

// False when the client has gone.
io::Task<bool> Exchange::wait_for_change() {
  if (client_gone_ || client_.is_gone()) co_return false;
  if (!co_await client_.probe(after(kReplyTime))) co_return false;
  if (admission_) co_return true;
  if (!client_.incoming().done && ticket_->room() > 0) co_return co_await read_while_held();
  changed_.reset();
  if (!admission_) (void)co_await changed_.wait(patient_until());  // the hold's is the ticket's
  co_return !client_gone_ && !client_.is_gone();
}

// Without a least rate: how fast it comes does not matter while it could not go on anyway.
io::Task<bool> Exchange::read_while_held() {
  if (client_.awaits_continue()) {
    const io::IoResult sent = co_await client_.send_continue(after(kReplyTime));
    if (!sent.ok()) co_return false;
    if (admission_ || ticket_->room() == 0) co_return true;
  }
  const auto most = std::min(kReadWhileHeld, static_cast<std::size_t>(ticket_->room()));
  const BodyPiece got = co_await client_.read_body(most, patient_until());
  if (got.status == io::IoStatus::kCancelled) co_return admission_.has_value();
  if (got.status == io::IoStatus::kTimeout) co_return true;
  if (!got.ok() && !client_.incoming().done) co_return false;
  first_body_ += got.bytes;
  ticket_->keep(std::ssize(got.bytes));
  co_return true;
}

void Exchange::on_client_activity() {
  if (client_.is_gone()) client_gone_ = true;
  changed_.set();
}

}  // namespace banyan::gateway
