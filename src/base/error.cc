#include "base/error.h"

#include <array>

namespace banyan {
namespace {

constexpr std::array<std::string_view, 10> kCodeNames = {
    "invalid_argument", "not_found",  "conflict",   "unavailable", "timeout",
    "cancelled",        "permission", "corruption", "unsupported", "internal",
};

}  // namespace

std::string_view code_name(Code code) {
  return kCodeNames[std::to_underlying(code)];
}

Code code_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kCodeNames.size(); ++i)
    if (kCodeNames[i] == name) return static_cast<Code>(i);
  return Code::kInternal;
}

std::string Error::where() const {
  const std::string_view path = file_;
  return std::string(path.substr(path.rfind('/') + 1)) + ":" + std::to_string(line_);
}

}  // namespace banyan
