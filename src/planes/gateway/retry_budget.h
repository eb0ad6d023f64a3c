#pragma once
// RetryTokens: how many requests may be tried again at once: a share of the requests inside, and a
// few in any case. A retry counts from its decision on, so also while it waits for its turn:
// retries in back-off are load to come. backoff(): how long it waits. Pure. One thread.

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/clock.h"
#include "spec/traffic.h"
#include "wire/http/head_writer.h"

namespace banyan::gateway {

class RetryTokens {
 public:
  // Held while a request is tried again; gives itself back.
  class Token {
   public:
    Token() = default;
    explicit Token(RetryTokens& owner) : owner_(&owner) {}
    Token(Token&& other) noexcept : owner_(std::exchange(other.owner_, nullptr)) {}
    Token& operator=(Token&& other) noexcept {
      std::swap(owner_, other.owner_);
      return *this;
    }
    ~Token() {
      if (owner_ != nullptr) --owner_->out_;
    }
    explicit operator bool() const { return owner_ != nullptr; }

   private:
    RetryTokens* owner_ = nullptr;
  };

  // `inside`: requests at the backend, those that wait for it included. Empty: no.
  Token take(const spec::RetryBudget& budget, std::int64_t inside) {
    const std::int64_t most =
        std::max<std::int64_t>(budget.at_least, inside * budget.percent / 100);
    if (out_ >= most) {
      ++refused_;
      return {};
    }
    ++out_;
    return Token(*this);
  }
  std::int64_t out() const { return out_; }
  std::uint64_t refused() const { return refused_; }

 private:
  std::int64_t out_ = 0;
  std::uint64_t refused_ = 0;
};

// Full jitter: anything from 0 to base * 2^retry, at most ten times the base. `retry` from 0.
inline Duration backoff(Duration base, int retry, http::IdSource& ids) {
  const Duration most = std::min<Duration>(base * 10, base * (1LL << std::min(retry, 10)));
  if (most <= Duration::zero()) return Duration::zero();
  return Duration(
      static_cast<Duration::rep>(ids.next() % static_cast<std::uint64_t>(most.count() + 1)));
}

}  // namespace banyan::gateway
