#include "wire/http/field_id.h"

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "wire/http/text.h"

namespace banyan::http {
namespace {

struct Known {
  std::string_view name;
  FieldId id;
};
constexpr Known kKnown[] = {
    {"te", FieldId::kHopByHop},
    {"via", FieldId::kVia},
    {"date", FieldId::kDate},
    {"host", FieldId::kHost},
    {"expect", FieldId::kExpect},
    {"upgrade", FieldId::kUpgrade},
    {"forwarded", FieldId::kForwarded},
    {"connection", FieldId::kConnection},
    {"keep-alive", FieldId::kHopByHop},
    {"traceparent", FieldId::kTraceparent},
    {"x-request-id", FieldId::kRequestId},
    {"max-forwards", FieldId::kMaxForwards},
    {"content-type", FieldId::kContentType},
    {"content-length", FieldId::kContentLength},
    {"http2-settings", FieldId::kHopByHop},
    {"x-forwarded-for", FieldId::kForwardedFor},
    {"x-forwarded-host", FieldId::kForwardedHost},
    {"proxy-connection", FieldId::kHopByHop},
    {"x-forwarded-proto", FieldId::kForwardedProto},
    {"transfer-encoding", FieldId::kTransferEncoding},
    {"proxy-authorization", FieldId::kHopByHop},
};
constexpr std::size_t kKnownNameMax = 19;

// Which entries of kKnown have a name of this length.
struct LengthIndex {
  std::array<std::uint32_t, kKnownNameMax + 1> entries{};
  constexpr LengthIndex() {
    std::uint32_t bit = 1;
    for (const Known& known : kKnown) {
      entries[known.name.size()] |= bit;
      bit <<= 1;
    }
  }
};
constexpr LengthIndex kByLength;

bool contains_underscore(std::string_view name) {
  return std::memchr(name.data(), '_', name.size()) != nullptr;
}

// What the gateway itself says about a client's certificate must not come from a client.
bool is_client_certificate(std::string_view name) {
  constexpr std::string_view kPrefix = "x-client-cert";
  return name.size() >= kPrefix.size() && (name[0] | 0x20) == 'x' && (name[2] | 0x20) == 'c' &&
         equals_as_cgi(name.substr(0, kPrefix.size()), kPrefix);
}

}  // namespace

bool equals_as_cgi(std::string_view name, std::string_view lower_name) {
  if (name.size() != lower_name.size()) return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i] == '_' ? '-' : lower(name[i]);
    if (c != lower_name[i]) return false;
  }
  return true;
}

FieldId classify(std::string_view name) {
  if (is_client_certificate(name)) return FieldId::kSpoofed;
  if (name.size() > kKnownNameMax) return FieldId::kOther;
  std::uint32_t entries = kByLength.entries[name.size()];
  for (; entries != 0; entries &= entries - 1) {
    const Known& known = kKnown[std::countr_zero(entries)];
    if (lower(name[0]) != known.name[0]) continue;
    if (equals_lower(name, known.name)) return known.id;
    if (contains_underscore(name) && equals_as_cgi(name, known.name)) return FieldId::kSpoofed;
  }
  return FieldId::kOther;
}

bool is_dropped_always(FieldId id) {
  return id == FieldId::kHopByHop || id == FieldId::kConnection || id == FieldId::kUpgrade ||
         id == FieldId::kSpoofed || id == FieldId::kTransferEncoding;
}

}  // namespace banyan::http
