#include "base/bounded_queue.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>

namespace banyan {
namespace {

struct Bytes {
  std::size_t operator()(const std::string& s) const { return s.size(); }
};

TEST(BoundedQueue, KeepsOrderAndDrainsAfterClose) {
  BoundedQueue<int> queue(10);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(queue.push(i));
  queue.close();
  EXPECT_FALSE(queue.push(9));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(queue.pop(), i);
  EXPECT_EQ(queue.pop(), std::nullopt);
}

TEST(BoundedQueue, AFullQueueBlocksTheProducerUntilThereIsRoom) {
  BoundedQueue<std::string, Bytes> queue(4);
  EXPECT_TRUE(queue.push("abcd"));
  std::jthread producer([&] { EXPECT_TRUE(queue.push("ef")); });
  EXPECT_EQ(queue.pop(), "abcd");
  EXPECT_EQ(queue.pop(), "ef");
}

TEST(BoundedQueue, AnItemHeavierThanTheQueueIsAdmittedAlone) {
  BoundedQueue<std::string, Bytes> queue(2);
  EXPECT_TRUE(queue.push("abcdef"));
  EXPECT_EQ(queue.weight(), 6U);
  EXPECT_EQ(queue.pop(), "abcdef");
  EXPECT_EQ(queue.weight(), 0U);
}

}  // namespace
}  // namespace banyan
