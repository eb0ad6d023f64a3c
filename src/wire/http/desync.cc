#include "wire/http/desync.h"

#include <array>
#include <bit>
#include <cstddef>

namespace banyan::http {
namespace {

// By the number of its bit.
constexpr auto kVerdicts = std::to_array<Verdict>({
    {Desync::kAmbiguous, "content-length beside transfer-encoding"},
    {Desync::kAmbiguous, "repeated content-length"},
    {Desync::kAmbiguous, "framing field spelt with underscore"},
    {Desync::kAmbiguous, "connection names a framing field"},
    {Desync::kAmbiguous, "body of a method that has none"},
    {Desync::kAcceptable, "content-length 0 of a method that has no body"},
    {Desync::kAcceptable, "content-length with leading zeros"},
    {Desync::kAcceptable, "forwarding field spelt with underscore"},
    {Desync::kAcceptable, "byte outside ascii"},
    {Desync::kAcceptable, "empty line before the request"},
    {Desync::kAcceptable, "chunk extension"},
});

}  // namespace

std::string_view name_of(Desync level) {
  constexpr std::array<std::string_view, kDesyncClasses> kNames = {"compliant", "acceptable",
                                                                   "ambiguous", "severe"};
  return kNames[static_cast<std::size_t>(level)];
}

Verdict judge(std::uint16_t oddities) {
  if (oddities == 0) return {};
  return kVerdicts[static_cast<std::size_t>(std::countr_zero(oddities))];
}

}  // namespace banyan::http
