#include "spec/cidr.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "spec/value.h"

namespace banyan::spec {
namespace {

constexpr IpBytes kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr int kMappedBits = 96;

bool is_mapped(const IpBytes& address) {
  return std::equal(address.begin(), address.begin() + 12, kMapped.begin());
}

void keep_bits(IpBytes& address, int bits) {
  for (int i = 0; i < 16; ++i) {
    const int kept = std::clamp(bits - 8 * i, 0, 8);
    address[static_cast<std::size_t>(i)] &= static_cast<std::uint8_t>(0xff00 >> kept);
  }
}

}  // namespace

std::optional<IpBytes> parse_ip(std::string_view text) {
  const std::string copy(text);
  IpBytes bytes = kMapped;
  if (inet_pton(AF_INET, copy.c_str(), bytes.data() + 12) == 1) return bytes;
  if (inet_pton(AF_INET6, copy.c_str(), bytes.data()) == 1) return bytes;
  return std::nullopt;
}

std::optional<Cidr> Cidr::parse(std::string_view text) {
  const auto slash = text.find('/');
  const auto address = parse_ip(text.substr(0, slash));
  if (!address) return std::nullopt;
  const bool is_v4 = text.find(':') == std::string_view::npos;
  Cidr out;
  if (slash != std::string_view::npos) {
    const auto bits = parse_integer(text.substr(slash + 1));
    if (!bits || *bits < 0 || *bits > (is_v4 ? 32 : 128)) return std::nullopt;
    out.bits_ = static_cast<int>(*bits) + (is_v4 ? kMappedBits : 0);
  }
  out.base_ = *address;
  keep_bits(out.base_, out.bits_);
  return out;
}

bool Cidr::holds(const IpBytes& address) const {
  IpBytes masked = address;
  keep_bits(masked, bits_);
  return masked == base_;
}

IpBytes client_block(IpBytes address) {
  if (!is_mapped(address)) keep_bits(address, 64);
  return address;
}

std::string client_text(const IpBytes& block) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (is_mapped(block)) return inet_ntop(AF_INET, block.data() + 12, text.data(), text.size());
  return inet_ntop(AF_INET6, block.data(), text.data(), text.size()) + std::string("/64");
}

}  // namespace banyan::spec
