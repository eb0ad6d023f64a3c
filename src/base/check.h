#pragma once
// CHECK: what our own code guarantees. Always on; a failure prints where and aborts.
// BUG: the same on the request path: logs and counts in release, aborts where NDEBUG is not set.
// Input from outside reaches neither.

#include <source_location>

namespace banyan {

[[noreturn]] void check_failed(const char* condition, std::source_location where);
void bug_found(const char* condition, std::source_location where);
// How many BUGs this process has met; exported as banyan_bugs_total.
long bugs_found();

}  // namespace banyan

#define CHECK(cond)                 \
  (static_cast<bool>(cond) ? void() \
                           : ::banyan::check_failed(#cond, std::source_location::current()))
// True (and reported) when `cond` holds: `if (BUG(in_flight_ < 0)) return;`
#define BUG(cond) \
  (static_cast<bool>(cond) && (::banyan::bug_found(#cond, std::source_location::current()), true))
