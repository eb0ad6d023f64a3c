#pragma once
// CRC-32C (Castagnoli, RFC 3720 appendix B.4) of bytes: whether a record on disk is what was
// written.

#include <cstdint>
#include <string_view>

namespace banyan {

// `before`: the checksum of what precedes these bytes.
std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0);

}  // namespace banyan
