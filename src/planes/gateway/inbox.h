#pragma once
// Inbox: what was received on a connection and is not used yet. Fresh bytes stay where they were
// received, in the loop's scratch buffer, until `keep`: call it before the coroutine suspends.
// An inbox with nothing in it keeps no memory.

#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace banyan::gateway {

class Inbox {
 public:
  bool empty() const { return bytes_.empty(); }
  // Valid until the coroutine suspends.
  std::string_view bytes() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }

  void add(std::string_view fresh) {
    if (bytes_.empty()) {
      bytes_ = fresh;
      lent_ = true;
      return;
    }
    CHECK(!lent_);
    kept_.erase(0, static_cast<std::size_t>(bytes_.data() - kept_.data()));
    bytes_ = kept_.append(fresh);
  }
  // The first `bytes` are used.
  void use(std::size_t bytes) { bytes_.remove_prefix(bytes); }
  std::string_view take() { return std::exchange(bytes_, {}); }

  void keep() {
    if (bytes_.empty()) {
      kept_.clear();
      kept_.shrink_to_fit();
    } else if (std::exchange(lent_, false)) {
      kept_ = bytes_;
      bytes_ = kept_;
    }
  }

 private:
  std::string_view bytes_;
  bool lent_ = false;  // bytes_ are in the scratch buffer, otherwise in kept_
  std::string kept_;
};

}  // namespace banyan::gateway
