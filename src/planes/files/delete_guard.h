#pragma once
// DeleteGuard: decides whether a vanished file may be deleted on the other side. A disk that is not
// mounted, an emptied root or an unlistable bucket must not look like a wish to delete.
//
//   - the side the file vanished from must be there (its root is the one we know) and not be empty
//   - of files found missing by comparing, at most max(100, 1 %) at once
//   - of deletes seen as they happened, at most max(1000, half of all) a minute
//
// What is refused is held: remembered until somebody confirms it, or until the file is back.
// Thread-safe.

#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/guarded.h"

namespace banyan::files {

class DeleteGuard {
 public:
  explicit DeleteGuard(const Clock& clock) : clock_(clock) {}

  // Whether `missing` of `known` files may go, found by comparing. Then that many deletes are paid
  // for.
  bool admits_batch(std::size_t missing, std::int64_t known);
  // Whether one more delete may be carried out.
  bool admits_one(std::int64_t known);

  void hold(const std::string& path);
  void release(const std::string& path);  // it is back, or carried out
  std::size_t held() const;
  // Admits everything held if it is not more than `most`, and returns it.
  std::vector<std::string> confirm(std::size_t most);
  void clear();

 private:
  struct State {
    std::set<std::string> held;
    std::deque<Mono> recent;
    std::size_t prepaid = 0;
  };
  const Clock& clock_;
  Guarded<State> state_;
};

}  // namespace banyan::files
