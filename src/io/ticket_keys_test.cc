#include "io/ticket_keys.h"

#include <gtest/gtest.h>

namespace banyan::io {
namespace {

class TicketKeysTest : public testing::Test {
 protected:
  bool opens(const TicketKeys::Key& key) { return keys_.find(key.name.data()).known; }
  bool is_present(const TicketKeys::Key& key) { return keys_.find(key.name.data()).present; }
  SimClock clock_;
  TicketKeys keys_{clock_};
};

TEST_F(TicketKeysTest, AreReplacedWhenTheyAreOldAndOpenAsLongAgain) {
  const auto first = keys_.present();
  clock_.advance(TicketKeys::kAge - 1s);
  EXPECT_TRUE(is_present(first));
  clock_.advance(1s);
  EXPECT_TRUE(opens(first));
  EXPECT_FALSE(is_present(first)) << "what it sealed is sealed anew";
  EXPECT_NE(keys_.present().name, first.name);
  clock_.advance(TicketKeys::kAge);
  EXPECT_FALSE(opens(first));
}

TEST_F(TicketKeysTest, DoNotOutliveTwiceTheirAgeWhileNobodyComes) {
  const auto first = keys_.present();
  clock_.advance(3 * TicketKeys::kAge);
  EXPECT_FALSE(opens(first));
}

TEST_F(TicketKeysTest, OpenInTheProcessThatTakesThem) {
  const auto key = keys_.present();
  TicketKeys successor(clock_);
  ASSERT_TRUE(successor.take(keys_.bytes()));
  EXPECT_TRUE(successor.find(key.name.data()).present);
  EXPECT_FALSE(successor.take("something else"));
}

TEST_F(TicketKeysTest, AreForgottenTogether) {
  const auto key = keys_.present();
  keys_.forget();
  EXPECT_FALSE(opens(key));
}

}  // namespace
}  // namespace banyan::io
