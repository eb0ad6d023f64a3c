// FUZZ SOURCES: planes/files/names.cc base/percent.cc
#include <cstdint>
#include <cstdlib>

#include "planes/files/names.h"

using namespace banyan::files;

// Whatever key arrives, its path stays inside the root and comes back to the same key.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto path = path_of_key("", text)) {
    const bool escapes = path->starts_with('/') || path->find('\0') != std::string::npos ||
                         ("/" + *path + "/").find("/../") != std::string::npos;
    if (escapes || key_of_path("", *path).value_or("") != text) std::abort();
  }
  return 0;
}
