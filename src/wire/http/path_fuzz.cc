// FUZZ SOURCES: wire/http/path.cc
// A normalised path is absolute, holds nothing that could climb or be written in a shorter way, and
// is its own normal form.

#include <cstdlib>
#include <string>

#include "base/check.h"
#include "wire/http/path.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string target = "/" + std::string(reinterpret_cast<const char*>(data), size);
  std::string scratch;
  const auto path = banyan::http::normal_path(target, scratch);
  if (!path) return 0;
  CHECK(path->starts_with('/'));
  CHECK(path->size() <= target.size());
  CHECK(path->find('?') == std::string_view::npos);
  for (const std::string_view climbing : {"//", "/./", "/../", "/..;", "/.;"})
    CHECK(path->find(climbing) == std::string_view::npos);
  CHECK(!path->ends_with("/.") && !path->ends_with("/.."));
  std::string again;
  CHECK(banyan::http::normal_path(*path, again) == *path);
  return 0;
}
