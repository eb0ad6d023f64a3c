#pragma once
// Pipe: where the kernel keeps bytes on their way from one socket to another, so that they never
// enter this process (splice(2)). See Socket::move_in and move_out. Belongs to one loop.

#include <memory>

#include "base/error.h"
#include "io/descriptor.h"

namespace banyan::io {

class Pipe {
  struct Passkey {};

 public:
  static constexpr int kBytesWanted = 1 << 20;  // the system may allow less

  static Result<std::unique_ptr<Pipe>> create();
  Pipe(Passkey, Descriptor out, Descriptor in) : out_(std::move(out)), in_(std::move(in)) {}
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int in() const { return in_.get(); }
  int out() const { return out_.get(); }
  bool is_empty() const { return held_ == 0; }

 private:
  friend class Socket;
  Descriptor out_;
  Descriptor in_;
  std::size_t held_ = 0;
};

}  // namespace banyan::io
