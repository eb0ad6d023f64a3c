#include "io/channel.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <thread>

namespace banyan::io {
namespace {

class Channels : public testing::Test {
 public:
  Channels() {
    std::string name = (std::filesystem::temp_directory_path() / "channel-XXXXXX").string();
    directory_ = mkdtemp(name.data());
  }
  ~Channels() override { std::filesystem::remove_all(directory_); }
  std::string path() const { return directory_ + "/c"; }

 private:
  std::string directory_;
};

TEST_F(Channels, MessagesKeepTheirBoundaries) {
  auto listener = *ChannelListener::open(path());
  auto one = *Channel::connect(path());
  auto other = *listener->accept();
  ASSERT_TRUE(one.send("first"));
  ASSERT_TRUE(one.send("second"));
  EXPECT_EQ(other.receive(1s)->text, "first");
  EXPECT_EQ(other.receive(1s)->text, "second");
}

TEST_F(Channels, APassedDescriptorIsTheSameOpenFile) {
  auto listener = *ChannelListener::open(path());
  auto one = *Channel::connect(path());
  auto other = *listener->accept();
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe(ends.data()), 0);
  const Descriptor reader(ends[0]);
  {
    const Descriptor writer(ends[1]);
    ASSERT_TRUE(one.send("take it", std::array{writer.get()}));
  }
  auto message = *other.receive(1s);
  ASSERT_EQ(message.descriptors.size(), 1u);
  ASSERT_EQ(::write(message.descriptors[0].get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(::read(reader.get(), &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
}

TEST_F(Channels, TheEndOfTheOtherSideIsAnError) {
  auto listener = *ChannelListener::open(path());
  auto other = [&] {
    auto one = *Channel::connect(path());
    return *listener->accept();
  }();
  EXPECT_EQ(other.receive(1s).error().code(), Code::kUnavailable);
}

TEST_F(Channels, NobodyListening) {
  EXPECT_EQ(Channel::connect(path()).error().code(), Code::kUnavailable);
}

TEST_F(Channels, ClosingEndsAWaitingAccept) {
  auto listener = *ChannelListener::open(path());
  std::jthread closer([&] { listener->close(); });
  EXPECT_FALSE(listener->accept());
}

}  // namespace
}  // namespace banyan::io
