#pragma once
// A small file that is there whole or as it was before: written under a temporary name, on disk
// before it takes its own. Readable by its owner only: it may hold passwords.

#include <filesystem>
#include <string>

#include "base/error.h"

namespace banyan::replication {

Result<void> write_durably(const std::filesystem::path& path, const std::string& text);

}  // namespace banyan::replication
