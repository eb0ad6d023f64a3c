#pragma once
// Cidr: a range of IP addresses, "10.0.0.0/8", "2001:db8::/32" or one address. A value.
// An IPv4 address written as IPv6 (::ffff:10.0.0.1) is the IPv4 address.

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace banyan::spec {

// 16 bytes, IPv4 mapped into ::ffff:0:0/96.
using IpBytes = std::array<std::uint8_t, 16>;
std::optional<IpBytes> parse_ip(std::string_view text);

class Cidr {
 public:
  static std::optional<Cidr> parse(std::string_view text);
  bool holds(const IpBytes& address) const;
  int bits() const { return bits_; }  // of 128
  bool operator==(const Cidr&) const = default;

 private:
  IpBytes base_{};
  int bits_ = 128;
};

// What counts as one client: the IPv4 address, or the /64 of an IPv6 address.
IpBytes client_block(IpBytes address);
// Of such a block: "192.0.2.1", "2001:db8::/64".
std::string client_text(const IpBytes& block);

}  // namespace banyan::spec
