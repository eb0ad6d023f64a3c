#include "io/workers.h"

#include <latch>

namespace banyan::io {

Result<std::unique_ptr<Workers>> Workers::start(std::size_t count) {
  auto workers = std::make_unique<Workers>(Passkey{});
  for (std::size_t i = 0; i < count; ++i) {
    TRY(auto loop, Loop::create());
    workers->loops_.push_back(std::move(loop));
  }
  for (auto& loop : workers->loops_) workers->threads_.emplace_back([&loop] { loop->run(); });
  return workers;
}

Workers::~Workers() {
  stop();
}

void Workers::stop() {
  if (threads_.empty()) return;
  for (auto& loop : loops_) loop->stop();
  threads_.clear();
}

void Workers::run_on_all(const std::function<void(std::size_t worker)>& fn) {
  std::latch done(static_cast<std::ptrdiff_t>(loops_.size()));
  for (std::size_t i = 0; i < loops_.size(); ++i) {
    loops_[i]->post([&, i] {
      fn(i);
      done.count_down();
    });
  }
  done.wait();
}

void Workers::run_on(std::size_t worker, const std::function<void()>& fn) {
  std::latch done(1);
  loops_[worker]->post([&] {
    fn();
    done.count_down();
  });
  done.wait();
}

}  // namespace banyan::io
