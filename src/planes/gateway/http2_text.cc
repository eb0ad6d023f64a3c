#include "planes/gateway/http2_text.h"

#include <algorithm>

namespace banyan::gateway {

void append_lines(std::string& out, std::span<const h2::Field> fields) {
  for (const h2::Field& field : fields)
    out.append(field.name).append(": ").append(field.value).append("\r\n");
}

std::vector<h2::Field> fields_of_lines(std::string_view lines) {
  std::vector<h2::Field> out;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find("\r\n"));
    lines.remove_prefix(std::min(lines.size(), line.size() + 2));
    const std::size_t colon = line.find(": ");
    if (colon != std::string_view::npos && colon > 0)
      out.push_back({line.substr(0, colon), line.substr(colon + 2)});
  }
  return out;
}

}  // namespace banyan::gateway
