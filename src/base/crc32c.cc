#include "base/crc32c.h"

#include <array>
#include <cstddef>

namespace banyan {
namespace {

constexpr std::uint32_t kPolynomial = 0x82F63B78;  // reflected
using Table = std::array<std::uint32_t, 256>;

// tables[k][b]: what byte b contributes when k bytes follow it.
constexpr std::array<Table, 8> make_tables() {
  std::array<Table, 8> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (std::size_t byte = 0; byte < 256; ++byte) {
    for (std::size_t k = 1; k < 8; ++k) {
      const auto crc = tables[k - 1][byte];
      tables[k][byte] = crc >> 8 ^ tables[0][crc & 0xFF];
    }
  }
  return tables;
}

constexpr auto kTables = make_tables();

std::uint32_t byte_at(std::string_view bytes, std::size_t at) {
  return static_cast<unsigned char>(bytes[at]);
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes, std::uint32_t before) {
  std::uint32_t crc = ~before;
  while (bytes.size() >= 8) {
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < 8; ++i) {
      const auto mixed = i < 4 ? byte_at(bytes, i) ^ (crc >> (8 * i) & 0xFF) : byte_at(bytes, i);
      next ^= kTables[7 - i][mixed];
    }
    crc = next;
    bytes.remove_prefix(8);
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    crc = crc >> 8 ^ kTables[0][(crc ^ byte_at(bytes, i)) & 0xFF];
  }
  return ~crc;
}

}  // namespace banyan
