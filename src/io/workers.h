#pragma once
// Workers: N threads with one Loop each. They share nothing; what concerns all of them goes through
// `run_on_all`, which returns after the last worker has run it.

#include <cstddef>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/error.h"
#include "io/loop.h"

namespace banyan::io {

class Workers {
  struct Passkey {};

 public:
  static Result<std::unique_ptr<Workers>> start(std::size_t count);
  explicit Workers(Passkey) {}  // `start` only
  ~Workers();
  Workers(const Workers&) = delete;
  Workers& operator=(const Workers&) = delete;

  // Ends the threads; the loops stay until destruction. Nothing may be suspended on them any more.
  void stop();

  std::size_t size() const { return loops_.size(); }
  Loop& loop(std::size_t worker) { return *loops_[worker]; }
  // Blocks; never call it from a worker. Workers run `fn(worker)` at the same time.
  void run_on_all(const std::function<void(std::size_t worker)>& fn);
  void run_on(std::size_t worker, const std::function<void()>& fn);

 private:
  std::vector<std::unique_ptr<Loop>> loops_;
  std::vector<std::jthread> threads_;
};

}  // namespace banyan::io
