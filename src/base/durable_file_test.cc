#include "base/durable_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

namespace banyan {
namespace {

class DurableFile : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string text() const {
    std::ifstream file(path_);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  mode_t mode() const {
    struct stat found{};
    return ::stat(path_.c_str(), &found) == 0 ? found.st_mode & 0777U : 0;
  }
  const std::filesystem::path folder_ = testing::TempDir() + "/durable_file";
  const std::filesystem::path path_ = folder_ / "kept";
};

TEST_F(DurableFile, ReplacesTheOneBefore) {
  ASSERT_TRUE(write_durably(path_, "a longer one"));
  ASSERT_TRUE(write_durably(path_, "short"));
  EXPECT_EQ(text(), "short");
  EXPECT_EQ(mode(), 0600U);
}

TEST_F(DurableFile, IsReadableByOthersOnlyWhenAsked) {
  ASSERT_TRUE(write_durably(path_, "public", 0644));
  EXPECT_EQ(mode() & 0077U, 0644U & ~::umask(::umask(0)) & 0077U);
}

TEST_F(DurableFile, KeepsTheOneBeforeWhenItCannotBeWritten) {
  ASSERT_TRUE(write_durably(path_, "before"));
  std::filesystem::create_directories(path_.string() + ".part");
  const auto written = write_durably(path_, "after");
  ASSERT_FALSE(written);
  EXPECT_NE(written.error().message().find("Is a directory"), std::string::npos);
  EXPECT_EQ(text(), "before");
}

}  // namespace
}  // namespace banyan
