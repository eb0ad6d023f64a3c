#include "planes/gateway/access_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace banyan::gateway {
namespace {

using nlohmann::json;

constexpr std::uint64_t kSearchedMax = 256 << 20;
constexpr std::uint64_t kBlock = 1 << 20;
constexpr std::size_t kFoundMax = 10;

// Calls `on_line` with every line of `text` that ends in it, last first; gives back what is before
// the first end of line: the rest of a line that begins in an earlier block.
template <class OnLine>
std::string lines_backwards(std::string_view text, OnLine&& on_line) {
  while (true) {
    const std::size_t end = text.rfind('\n');
    if (end == std::string_view::npos) return std::string(text);
    on_line(text.substr(end + 1));
    text = text.substr(0, end);
  }
}

}  // namespace

Result<std::vector<json>> find_in_access_log(const std::string& path, const std::string& id) {
  std::ifstream file(path, std::ios::binary);
  std::error_code error;
  std::uint64_t at = std::filesystem::file_size(path, error);
  if (!file || error) return failure(Code::kUnavailable, fmt::format("cannot read {}", path));
  const std::string wanted = json(id).dump();
  std::vector<json> found;
  const auto look = [&](std::string_view line) {
    if (found.size() >= kFoundMax || !line.contains(wanted)) return;
    json parsed = json::parse(line, nullptr, false);
    const bool is_it =
        parsed.is_object() && (parsed.value("id", "") == id || parsed.value("trace", "") == id);
    if (is_it) found.push_back(std::move(parsed));
  };
  const std::uint64_t stop = at > kSearchedMax ? at - kSearchedMax : 0;
  std::string rest;
  while (at > stop && found.size() < kFoundMax) {
    const std::uint64_t size = std::min(kBlock, at - stop);
    at -= size;
    std::string block(size, 0);
    file.seekg(static_cast<std::streamoff>(at));
    file.read(block.data(), static_cast<std::streamsize>(size));
    rest = lines_backwards(block + rest, look);
  }
  look(rest);
  if (found.empty())
    return std::unexpected(
        Error(Code::kNotFound, fmt::format("no request {} in {}", id, path))
            .with_remedy("give its X-Request-Id or trace id; rotated files are not searched"));
  return found;
}

}  // namespace banyan::gateway
