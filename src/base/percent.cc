#include "base/percent.h"

#include "base/hex.h"

namespace banyan {

std::string percent_decoded(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); i++) {
    const bool escape = text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 &&
                        hex_value(text[i + 2]) >= 0;
    if (!escape) {
      out += text[i];
      continue;
    }
    out += static_cast<char>((hex_value(text[i + 1]) << 4) | hex_value(text[i + 2]));
    i += 2;
  }
  return out;
}

}  // namespace banyan
