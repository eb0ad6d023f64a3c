#include "planes/gateway/inbox.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace banyan::gateway {
namespace {

TEST(Inbox, WhatIsKeptOutlivesThePlaceItWasReceivedIn) {
  std::string scratch = "GET / HTTP/1.1\r\n";
  Inbox inbox;
  inbox.add(scratch);
  EXPECT_EQ(inbox.bytes().data(), scratch.data());
  inbox.use(4);
  inbox.keep();
  std::ranges::fill(scratch, '!');
  EXPECT_EQ(inbox.bytes(), "/ HTTP/1.1\r\n");
}

TEST(Inbox, BytesFollowThoseThatWereKept) {
  Inbox inbox;
  for (const char c : std::string_view("a head that comes byte by byte")) {
    const std::string scratch(1, c);
    inbox.add(scratch);
    inbox.keep();
  }
  EXPECT_EQ(inbox.bytes(), "a head that comes byte by byte");
}

TEST(Inbox, WhatWasUsedStaysReadableWhileBytesFollowIt) {
  Inbox inbox;
  inbox.add("interim ");
  inbox.keep();
  inbox.add("final");
  const std::string_view head = inbox.bytes().substr(0, 8);
  inbox.use(8);
  inbox.keep();
  EXPECT_EQ(head, "interim ");
  inbox.add(" head");
  EXPECT_EQ(inbox.bytes(), "final head");
}

TEST(Inbox, WhatWasTakenIsGone) {
  Inbox inbox;
  inbox.add("head body");
  inbox.use(5);
  inbox.keep();
  EXPECT_EQ(inbox.take(), "body");
  EXPECT_TRUE(inbox.empty());
  inbox.add("next");
  EXPECT_EQ(inbox.bytes(), "next");
}

}  // namespace
}  // namespace banyan::gateway
