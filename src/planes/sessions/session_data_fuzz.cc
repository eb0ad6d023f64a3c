// FUZZ SOURCES: planes/sessions/value.cc planes/sessions/json_text.cc planes/sessions/pickle.cc
// Whatever bytes a database or a cache holds: reading them never crashes, never grows without
// bound, and what was read is written in a form that reads back the same.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "planes/sessions/value.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace banyan::sessions;  // NOLINT(google-build-using-namespace)
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto value = read_pickle(bytes)) {
    const auto again = read_pickle(write_pickle(*value));
    CHECK(again && same(*value, *again));
  }
  if (const auto value = read_json(bytes)) {
    const auto text = write_json(*value);
    CHECK(text);
    const auto again = read_json(*text);
    CHECK(again && same(*value, *again));
    const auto pickled = read_pickle(write_pickle(*value));
    CHECK(pickled && same(*value, *pickled));
  }
  return 0;
}
