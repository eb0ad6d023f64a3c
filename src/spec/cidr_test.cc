#include "spec/cidr.h"

#include <gtest/gtest.h>

namespace banyan::spec {
namespace {

bool holds(std::string_view cidr, std::string_view address) {
  return Cidr::parse(cidr).value().holds(parse_ip(address).value());
}

TEST(Cidr, HoldsTheAddressesOfItsRange) {
  EXPECT_TRUE(holds("10.0.0.0/8", "10.255.1.2"));
  EXPECT_FALSE(holds("10.0.0.0/8", "11.0.0.1"));
  EXPECT_TRUE(holds("192.0.2.7", "192.0.2.7"));
  EXPECT_FALSE(holds("192.0.2.7", "192.0.2.8"));
  EXPECT_TRUE(holds("192.0.2.128/25", "192.0.2.200"));
  EXPECT_FALSE(holds("192.0.2.128/25", "192.0.2.100"));
  EXPECT_TRUE(holds("2001:db8::/32", "2001:db8:1::1"));
  EXPECT_TRUE(holds("0.0.0.0/0", "1.2.3.4"));
  EXPECT_FALSE(holds("0.0.0.0/0", "2001:db8::1"));
}

TEST(Cidr, KnowsIpv4WrittenAsIpv6) {
  EXPECT_TRUE(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
}

TEST(Cidr, RefusesWhatIsNone) {
  for (const char* text :
       {"", "10.0.0.0/33", "10.0.0/8", "x", "::/129", "10.0.0.0/", "10.0.0.0/-1"})
    EXPECT_FALSE(Cidr::parse(text)) << text;
}

TEST(Cidr, OneClientOfIpv6HasA64) {
  EXPECT_EQ(client_block(*parse_ip("2001:db8::1")), client_block(*parse_ip("2001:db8::ffff:1")));
  EXPECT_NE(client_block(*parse_ip("2001:db8::1")), client_block(*parse_ip("2001:db8:0:1::1")));
  EXPECT_NE(client_block(*parse_ip("192.0.2.1")), client_block(*parse_ip("192.0.2.2")));
  EXPECT_EQ(client_text(client_block(*parse_ip("2001:db8::ffff:1"))), "2001:db8::/64");
  EXPECT_EQ(client_text(client_block(*parse_ip("192.0.2.1"))), "192.0.2.1");
}

}  // namespace
}  // namespace banyan::spec
