// FUZZ SOURCES: planes/replication/log_record.cc wire/pg/pgoutput.cc wire/pg/lsn.cc base/crc32c.cc
// FUZZ LINK: nlohmann_json::nlohmann_json
// The input is a segment's bytes; the same bytes as a payload must come back as they were written.

#include <cstddef>
#include <cstdint>

#include "planes/replication/log_record.h"

namespace replication = banyan::replication;

namespace {

void read_segment(std::string_view bytes) {
  replication::StreamOutline outline;
  while (true) {
    const auto record = replication::take_record(bytes);
    if (!record || !*record) return;
    (void)replication::decode_head(**record);  // only that it neither crashes nor reads beyond
    if (!outline.note(**record)) return;
  }
}

void write_and_read(std::string_view payload) {
  std::string bytes;
  replication::append_record(
      bytes,
      {.kind = replication::RecordKind::kData, .lsn = banyan::pg::Lsn(7), .payload = payload});
  std::string_view rest(bytes);
  const auto record = replication::take_record(rest);
  if (!record || !*record || (*record)->payload != payload || !rest.empty()) __builtin_trap();
  replication::StreamOutline outline;
  (void)outline.note(**record);
  // No flipped bit is overlooked.
  bytes[payload.size() % bytes.size()] ^= 1;
  rest = bytes;
  const auto damaged = replication::take_record(rest);
  if (damaged && *damaged) __builtin_trap();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  read_segment(bytes);
  write_and_read(bytes);
  return 0;
}
