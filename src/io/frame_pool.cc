#include "io/frame_pool.h"

#include <array>
#include <cstdlib>

#include "base/check.h"

namespace banyan::io {
namespace {

constexpr std::size_t kClassBytes = 64;
constexpr std::size_t kClasses = 64;         // frames up to 4 KiB are kept
// Beyond that they go back to the allocator; at once where a sanitizer is to see misuse.
#if defined(__has_feature) && __has_feature(address_sanitizer)
constexpr std::size_t kKeptPerClass = 0;
#else
constexpr std::size_t kKeptPerClass = 1024;
#endif

struct FreeFrame {
  FreeFrame* next;
};

struct FramePool {
  std::array<FreeFrame*, kClasses> first{};
  std::array<std::size_t, kClasses> kept{};

  ~FramePool() {
    for (FreeFrame* frame : first) {
      while (frame != nullptr) {
        FreeFrame* const next = frame->next;
        std::free(frame);
        frame = next;
      }
    }
  }
};

thread_local FramePool pool;

std::size_t class_of(std::size_t bytes) {
  return (bytes + kClassBytes - 1) / kClassBytes;
}

}  // namespace

void* allocate_frame(std::size_t bytes) {
  const std::size_t size_class = class_of(bytes);
  if (size_class < kClasses && pool.first[size_class] != nullptr) {
    FreeFrame* const frame = pool.first[size_class];
    pool.first[size_class] = frame->next;
    --pool.kept[size_class];
    return frame;
  }
  void* const frame = std::malloc(size_class * kClassBytes);
  CHECK(frame != nullptr);
  return frame;
}

void free_frame(void* memory, std::size_t bytes) {
  const std::size_t size_class = class_of(bytes);
  if (size_class >= kClasses || pool.kept[size_class] >= kKeptPerClass) {
    std::free(memory);
    return;
  }
  auto* const frame = static_cast<FreeFrame*>(memory);
  frame->next = pool.first[size_class];
  pool.first[size_class] = frame;
  ++pool.kept[size_class];
}

}  // namespace banyan::io
