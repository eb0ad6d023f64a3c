#pragma once
// BoundedQueue<T>: how threads hand work to one another. Bounded by weight (count, or bytes through
// `Weigh`), FIFO; a full queue blocks the producer, which is the backpressure. Any number of
// producers and consumers. After close(), push fails and pop drains what is left, then fails.

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

#include "base/clock.h"

namespace banyan {

template <class T>
struct CountOne {
  std::size_t operator()(const T&) const { return 1; }
};

template <class T, class Weigh = CountOne<T>>
class BoundedQueue {
 public:
  // `capacity` in the unit of Weigh. One item heavier than it is admitted when the queue is empty.
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  // Blocks while full. False when closed; the item is then dropped.
  bool push(T item) {
    const std::size_t weight = Weigh{}(item);
    std::unique_lock lock(mutex_);
    not_full_.wait(lock,
                   [&] { return closed_ || items_.empty() || weight_ + weight <= capacity_; });
    if (closed_) return false;
    weight_ += weight;
    items_.push_back(std::move(item));
    not_empty_.notify_one();
    return true;
  }

  // Blocks up to `timeout`. Nothing when it passed, or when closed and empty.
  std::optional<T> pop(Duration timeout) {
    std::unique_lock lock(mutex_);
    not_empty_.wait_for(lock, timeout, [&] { return closed_ || !items_.empty(); });
    return take();
  }
  // Blocks until there is an item; nothing only when closed and empty.
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    not_empty_.wait(lock, [&] { return closed_ || !items_.empty(); });
    return take();
  }
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    not_full_.notify_all();
    not_empty_.notify_all();
  }
  bool is_closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
  }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return items_.size();
  }
  std::size_t weight() const {
    const std::lock_guard lock(mutex_);
    return weight_;
  }

 private:
  std::optional<T> take() {
    if (items_.empty()) return std::nullopt;
    T item = std::move(items_.front());
    items_.pop_front();
    weight_ -= Weigh{}(item);
    not_full_.notify_all();
    return item;
  }

  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable not_full_;
  std::condition_variable not_empty_;
  std::deque<T> items_;
  std::size_t weight_ = 0;
  bool closed_ = false;
};

}  // namespace banyan
