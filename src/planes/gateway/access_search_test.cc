#include "planes/gateway/access_search.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace banyan::gateway {
namespace {

class AccessSearch : public testing::Test {
 public:
  ~AccessSearch() override { std::filesystem::remove(path); }
  std::string path = testing::TempDir() + "access_search." + std::to_string(::getpid());
};

TEST_F(AccessSearch, FindsByIdOrTraceNewestFirst) {
  std::ofstream(path) << R"({"status":200,"id":"mine","trace":"t1"})"
                         "\n"
                      << R"({"status":201,"trace":"t2"})"
                         "\n"
                      << R"({"status":503,"trace":"t1"})"
                         "\n";
  EXPECT_EQ((*find_in_access_log(path, "mine"))[0]["status"], 200);
  const auto of_trace = *find_in_access_log(path, "t1");
  ASSERT_EQ(of_trace.size(), 2u);
  EXPECT_EQ(of_trace[0]["status"], 503);
  EXPECT_EQ(find_in_access_log(path, "other").error().code(), Code::kNotFound);
}

TEST_F(AccessSearch, FindsLinesThatSpanBlocks) {
  {
    std::ofstream out(path);
    for (int i = 0; i < 40'000; ++i)
      out << R"({"path":")" << std::string(60, 'x') << R"(","trace":"t)" << i << "\"}\n";
  }
  for (const char* trace : {"t0", "t12345", "t11000", "t11001", "t11002", "t39999"})
    EXPECT_TRUE(find_in_access_log(path, trace)) << trace;
}

}  // namespace
}  // namespace banyan::gateway
