// FUZZ SOURCES: wire/s3/xml.cc
#include <cstdint>

#include "wire/s3/xml.h"

// Whatever arrives, parsing ends and what was parsed can be written again.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto node = banyan::s3::parse_xml(text)) {
    (void)banyan::s3::parse_xml(banyan::s3::xml_element("a", node->text));  // must only not crash
  }
  return 0;
}
