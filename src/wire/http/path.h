#pragma once
// The path as routes see it: without query, percent-encoded unreserved characters decoded, "//"
// merged, "." and ".." resolved (also written "..;x", as Java servers read it). The original is
// what is forwarded: rewriting %2F breaks old applications.

#include <optional>
#include <string>
#include <string_view>

namespace banyan::http {

// Everything before '?'.
inline std::string_view path_of(std::string_view target) {
  return target.substr(0, target.find('?'));
}

// The normalised path: a view of `target` when it is already normal (the usual case), else of
// `scratch`. Nothing when it is malformed: a bad escape, %00, or climbing above the root.
std::optional<std::string_view> normal_path(std::string_view target, std::string& scratch);

}  // namespace banyan::http
