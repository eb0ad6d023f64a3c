#include "io/loop.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace banyan::io {

Timer::~Timer() {
  if (index_ != kNotQueued) loop_.unqueue(*this);
}

void Timer::arm(Mono at) {
  wanted_ = at;
  if (at == kNever) return;
  if (index_ == kNotQueued || at < queued_) loop_.queue(*this, at);
}

Result<std::unique_ptr<Loop>> Loop::create() {
  const int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  epoll_event event{.events = EPOLLIN | EPOLLET, .data = {.ptr = nullptr}};
  if (epoll_fd < 0 || wake_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) != 0)
    return failure(Code::kUnavailable, fmt::format("event loop: {}", std::strerror(errno)));
  return std::make_unique<Loop>(Descriptors{epoll_fd, wake_fd});
}

Loop::Loop(Descriptors descriptors)
    : epoll_fd_(descriptors.epoll),
      wake_fd_(descriptors.wake),
      now_(SystemClock().now()),
      scratch_(std::make_unique_for_overwrite<std::array<char, kScratchBytes>>()) {}

Loop::~Loop() {
  close(wake_fd_);
  close(epoll_fd_);
}

void Loop::run() {
  while (running_) turn();
}

void Loop::stop() {
  post([this] { running_ = false; });
}

void Loop::post(std::move_only_function<void()> work) {
  const bool first = posted_.with([&](Posted& posted) {
    posted.push_back(std::move(work));
    return posted.size() == 1;
  });
  if (!first) return;
  const std::uint64_t one = 1;
  // The counter cannot overflow: it is read whenever it is not zero.
  [[maybe_unused]] const auto written = write(wake_fd_, &one, sizeof one);
}

Result<void> Loop::watch(int fd, Pollable& pollable) {
  epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                    .data = {.ptr = &pollable}};
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0)
    return failure(Code::kUnavailable, fmt::format("epoll_ctl: {}", std::strerror(errno)));
  return {};
}

void Loop::forget(Pollable& pollable) {
  for (int i = batch_next_; i < batch_count_; ++i)
    if (batch_[i].data.ptr == &pollable) batch_[i].events = 0;
}

void Loop::unwatch(int fd, Pollable& pollable) {
  epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
  forget(pollable);
}

void Loop::turn() {
  const int count = epoll_wait(epoll_fd_, batch_.data(), kBatch, wait_ms());
  now_ = SystemClock().now();
  dispatch(std::max(count, 0));
  run_timers();
  run_scheduled();
  resume_all(at_batch_end_);
}

int Loop::wait_ms() const {
  if (!scheduled_.empty() || !at_batch_end_.empty()) return 0;
  if (timers_.empty()) return -1;
  const Duration left = timers_.front()->queued_ - SystemClock().now();
  if (left <= Duration::zero()) return 0;
  return static_cast<int>(std::min<long>(to_ms(left) + 1, 60'000));
}

void Loop::dispatch(int count) {
  batch_count_ = count;
  for (int i = 0; i < count; ++i) {
    batch_next_ = i + 1;
    const epoll_event event = batch_[i];
    if (event.data.ptr == nullptr) {
      drain_wakeups();
    } else if (event.events != 0) {
      static_cast<Pollable*>(event.data.ptr)->on_ready(event.events);
    }
    run_scheduled();
  }
  batch_count_ = 0;
}

void Loop::drain_wakeups() {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto got = read(wake_fd_, &count, sizeof count);
  run_posted();
}

void Loop::run_posted() {
  Posted posted = posted_.with([](Posted& waiting) { return std::exchange(waiting, {}); });
  for (auto& work : posted) work();
}

void Loop::run_scheduled() {
  resume_all(scheduled_);
}

// One pass: who begins to wait meanwhile waits for the next, so that a yield is one.
void Loop::resume_all(std::vector<std::coroutine_handle<>>& waiting) {
  resuming_.swap(waiting);
  for (const std::coroutine_handle<> handle : resuming_) handle.resume();
  resuming_.clear();
}

void Loop::run_timers() {
  while (!timers_.empty() && timers_.front()->queued_ <= now_) {
    Timer& timer = *timers_.front();
    unqueue(timer);
    if (timer.wanted_ > now_) {
      timer.arm(timer.wanted_);
      continue;
    }
    timer.wanted_ = kNever;
    timer.on_expired();
    run_scheduled();
  }
}

void Loop::queue(Timer& timer, Mono at) {
  timer.queued_ = at;
  if (timer.index_ == Timer::kNotQueued) {
    timers_.push_back(&timer);
    timer.index_ = timers_.size() - 1;
  }
  sift_up(timer.index_);
}

void Loop::unqueue(Timer& timer) {
  const std::size_t index = timer.index_;
  CHECK(index < timers_.size() && timers_[index] == &timer);
  timer.index_ = Timer::kNotQueued;
  Timer* const last = timers_.back();
  timers_.pop_back();
  if (last == &timer) return;
  place(index, *last);
  sift_up(index);
  sift_down(last->index_);
}

void Loop::place(std::size_t index, Timer& timer) {
  timers_[index] = &timer;
  timer.index_ = index;
}

void Loop::sift_up(std::size_t index) {
  Timer& timer = *timers_[index];
  while (index > 0 && timers_[(index - 1) / 2]->queued_ > timer.queued_) {
    place(index, *timers_[(index - 1) / 2]);
    index = (index - 1) / 2;
  }
  place(index, timer);
}

void Loop::sift_down(std::size_t index) {
  Timer& timer = *timers_[index];
  while (true) {
    std::size_t child = 2 * index + 1;
    if (child >= timers_.size()) break;
    if (child + 1 < timers_.size() && timers_[child + 1]->queued_ < timers_[child]->queued_)
      ++child;
    if (timers_[child]->queued_ >= timer.queued_) break;
    place(index, *timers_[child]);
    index = child;
  }
  place(index, timer);
}

}  // namespace banyan::io
