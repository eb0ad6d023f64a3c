#pragma once
// Between file names, which are bytes, and object keys, which are UTF-8: a reversible escape that
// leaves ordinary names as they are. Invalid UTF-8, control characters, and a '%' that would read
// as an escape become %XX. Pure functions.

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace banyan::files {

// The key of a path relative to the root; kUnsupported when it is longer than S3 allows.
Result<std::string> key_of_path(std::string_view prefix, std::string_view path);
// Nothing when no file of ours can have that key: outside the prefix, empty segments, "..", a
// directory marker, or a spelling key_of_path would not choose.
std::optional<std::string> path_of_key(std::string_view prefix, std::string_view key);
// Eight characters that tell this process's own files from those a crash left behind.
const std::string& process_token();
// Names the mirror makes itself; they are never mirrored.
bool is_own_name(std::string_view name);

inline constexpr std::string_view kBarrierPrefix = ".banyan-barrier-";
inline constexpr std::string_view kTemporaryPrefix = ".banyan-tmp-";

}  // namespace banyan::files
