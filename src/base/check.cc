#include "base/check.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace banyan {
namespace {

std::atomic<long> bug_count{0};

void report(const char* kind, const char* condition, std::source_location where) {
  std::fprintf(stderr, "%s: %s at %s:%u in %s\n", kind, condition, where.file_name(), where.line(),
               where.function_name());
}

}  // namespace

void check_failed(const char* condition, std::source_location where) {
  report("CHECK failed", condition, where);
  std::abort();
}

void bug_found(const char* condition, std::source_location where) {
  report("BUG", condition, where);
  bug_count.fetch_add(1, std::memory_order_relaxed);
#ifndef NDEBUG
  std::abort();
#endif
}

long bugs_found() {
  return bug_count.load(std::memory_order_relaxed);
}

}  // namespace banyan
