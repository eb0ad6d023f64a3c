#include "planes/gateway/grpc_health.h"

namespace banyan::gateway {
namespace {

constexpr std::size_t kFrameHead = 5;  // compressed?, length in four bytes
constexpr std::uint64_t kFieldOfInterest = 1;
enum WireType : std::uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Value {
  std::uint64_t number = 0;
  std::string_view bytes = {};
};

std::string framed(std::string_view message) {
  std::string out(kFrameHead - 1, '\0');
  out += static_cast<char>(message.size());
  return out.append(message);
}

std::optional<std::string_view> unframed(std::string_view in) {
  if (in.size() < kFrameHead || in.front() != 0) return std::nullopt;
  std::size_t length = 0;
  for (std::size_t i = 1; i < kFrameHead; ++i)
    length = length << 8U | static_cast<unsigned char>(in[i]);
  if (in.size() != kFrameHead + length) return std::nullopt;
  return in.substr(kFrameHead);
}

// Takes it from the front of `in`.
std::optional<std::uint64_t> take_varint(std::string_view& in) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(in.front());
    in.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7fU) << shift;
    if ((byte & 0x80U) == 0) return value;
  }
  return std::nullopt;
}

std::optional<Value> take_value(std::string_view& in, std::uint64_t type) {
  if (type == kVarint)
    return take_varint(in).transform([](std::uint64_t number) { return Value{number}; });
  std::optional<std::uint64_t> size;
  if (type == kFixed64) size = 8;
  if (type == kFixed32) size = 4;
  if (type == kBytes) size = take_varint(in);
  if (!size || *size > in.size()) return std::nullopt;
  const Value value{.bytes = in.substr(0, *size)};
  in.remove_prefix(*size);
  return value;
}

// Field 1 of the message, the last of several; its default when it is absent. Other fields are of
// later versions and passed over.
std::optional<Value> field_of(std::string_view in, WireType wanted) {
  const auto message = unframed(in);
  if (!message) return std::nullopt;
  std::string_view rest = *message;
  Value found;
  while (!rest.empty()) {
    const auto tag = take_varint(rest);
    if (!tag) return std::nullopt;
    const auto value = take_value(rest, *tag & 7U);
    if (!value) return std::nullopt;
    if (*tag == (kFieldOfInterest << 3U | wanted)) found = *value;
  }
  return found;
}

}  // namespace

std::string health_request(std::string_view service) {
  std::string message;
  if (!service.empty())
    message.append("\x0a").append(1, static_cast<char>(service.size())).append(service);
  return framed(message);
}

std::string health_answer(Serving status) {
  return framed(std::string("\x08").append(1, static_cast<char>(status)));
}

std::optional<std::string> asked_service(std::string_view in) {
  const auto field = field_of(in, kBytes);
  return field ? std::optional(std::string(field->bytes)) : std::nullopt;
}

std::optional<Serving> told_status(std::string_view in) {
  const auto field = field_of(in, kVarint);
  if (!field) return std::nullopt;
  return field->number <= 3 ? static_cast<Serving>(field->number) : Serving::kUnknown;
}

}  // namespace banyan::gateway
