#pragma once
// A small file that is there whole or as it was before, after a power failure too: on disk under a
// temporary name (`path`.part) before it takes its own, and the name on disk before the answer.

#include <sys/types.h>

#include <filesystem>
#include <string_view>

#include "base/error.h"

namespace banyan {

// Readable by its owner only unless `mode` says otherwise: it may hold secrets. kUnavailable with
// the system's reason. Any thread; one writer for each path.
Result<void> write_durably(const std::filesystem::path& path, std::string_view text,
                           mode_t mode = 0600);

}  // namespace banyan
