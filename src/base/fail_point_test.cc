#include "base/fail_point.h"

#include <gtest/gtest.h>
#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): setenv

#include <filesystem>
#include <fstream>
#include <thread>

namespace banyan {
namespace {

namespace fs = std::filesystem;

TEST(FailPoint, DoesWhatItsFileSaysOnceAndTellsThatItWasReached) {
  const auto folder = fs::temp_directory_path() / ("fail_point_" + std::to_string(getpid()));
  fs::create_directories(folder);
  setenv("BANYAN_CHECKPOINTS", folder.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  EXPECT_TRUE(fail_point("here"));
  std::ofstream(folder / "here") << "error";
  const auto failed = fail_point("here");
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), Code::kUnavailable);
  EXPECT_TRUE(fs::exists(folder / "here.reached"));
  EXPECT_TRUE(fail_point("here"));
  fs::remove(folder / "here.reached");
  std::ofstream(folder / "here") << "stop";
  std::jthread goes_on([&] {
    while (!fs::exists(folder / "here.reached")) std::this_thread::yield();
    fs::remove(folder / "here.reached");
  });
  EXPECT_TRUE(fail_point("here"));
  goes_on.join();
  std::ofstream(folder / "here") << "kill";
  EXPECT_EXIT((void)fail_point("here"), testing::KilledBySignal(SIGKILL), "");
  fs::remove_all(folder);
}

}  // namespace
}  // namespace banyan
