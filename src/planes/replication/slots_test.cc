#include "planes/replication/slots.h"

#include <gtest/gtest.h>

namespace banyan::replication {
namespace {

TEST(Slots, NamesHoldWhatASlotsNameMayHold) {
  const auto stem = slot_stem("banyan_", "Shop-1", "old");
  EXPECT_EQ(stem, "banyan__hop_1_old_");
  EXPECT_EQ(slot_stem("banyan_", std::string(90, 'x'), "new").size(), 50U);
  EXPECT_EQ(new_slot_name(stem).size(), stem.size() + 8);
  EXPECT_LT(new_slot_name(slot_stem("banyan_", std::string(90, 'x'), "shared")).size(), 64U);
}

}  // namespace
}  // namespace banyan::replication
