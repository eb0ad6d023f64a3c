#include "base/metrics_text.h"

#include <fmt/format.h>

#include <iterator>

namespace banyan {

void MetricsText::family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  fmt::format_to(std::back_inserter(out_), "# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void MetricsText::sample_as(std::string_view suffix, std::string_view labels, double value) {
  out_ += name_;
  out_ += suffix;
  if (!labels.empty()) fmt::format_to(std::back_inserter(out_), "{{{}}}", labels);
  fmt::format_to(std::back_inserter(out_), " {}\n", value);
}

std::string MetricsText::label(std::string_view name, std::string_view value) {
  std::string out = fmt::format("{}=\"", name);
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n')
      out += "\\n";
    else
      out += c;
  }
  return out + '"';
}

}  // namespace banyan
