// FUZZ SOURCES: wire/pg/pgoutput.cc
// The input is a sequence of payloads, each after one length byte.

#include <cstddef>
#include <cstdint>

#include "wire/pg/pgoutput.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  banyan::pg::PgOutputDecoder decoder;
  banyan::pg::PgOutputDecoder unstreamed;
  std::string scratch;
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  while (!rest.empty()) {
    const std::size_t length = static_cast<unsigned char>(rest[0]);
    rest.remove_prefix(1);
    const auto payload = rest.substr(0, length);
    rest.remove_prefix(payload.size());
    // What streaming interleaves must decode to the same as without it.
    if (const auto change = decoder.streamed_change(payload, scratch)) {
      const bool is_good = unstreamed.decode(change->payload).has_value();
      if (is_good != decoder.decode(payload).has_value()) __builtin_trap();
      continue;
    }
    (void)decoder.decode(payload);  // only that it neither crashes nor reads beyond
  }
  return 0;
}
