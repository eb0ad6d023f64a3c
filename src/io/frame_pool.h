#pragma once
// The memory of coroutine frames: one freelist per thread and size class, because a request makes
// and destroys several frames of the same few sizes. A frame is freed on the thread that made it.

#include <cstddef>

namespace banyan::io {

void* allocate_frame(std::size_t bytes);
void free_frame(void* frame, std::size_t bytes);

}  // namespace banyan::io
