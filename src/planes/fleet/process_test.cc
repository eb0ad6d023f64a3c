#include "planes/fleet/process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/clock.h"

namespace banyan::fleet {
namespace {

class ProcessTest : public testing::Test {
 protected:
  ProcessTest() {
    std::string name = "/tmp/banyan-process-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    launch_ = {.command = {"sleep 1000"},
               .cwd = directory_,
               .env = {{"COLOUR", "green"}},
               .log_path = directory_ + "/log",
               .mark = "test-" + directory_.substr(directory_.size() - 6)};
  }
  ~ProcessTest() override {
    kill_marked(launch_.mark);
    while (::waitpid(-1, nullptr, 0) > 0) {
    }
    std::filesystem::remove_all(directory_);
  }
  static bool ends(const Process& process) {
    for (int i = 0; i < 2000 && is_alive(process); ++i) std::this_thread::sleep_for(10ms);
    return !is_alive(process);
  }
  std::string log() const {
    std::ifstream file(launch_.log_path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string directory_;
  Launch launch_;
};

TEST_F(ProcessTest, LeadsItsOwnSessionAndIsFoundByItsMark) {
  const auto process = spawn(launch_);
  ASSERT_TRUE(process) << process.error().message();
  EXPECT_TRUE(is_alive(*process));
  EXPECT_EQ(::getsid(process->pid), process->pid);
  const auto found = find_marked(launch_.mark);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->pid, process->pid);
  EXPECT_EQ(found->start_time, process->start_time);
}

TEST_F(ProcessTest, ItsEndIsNoticedAndLeavesNoZombieAndNoChildren) {
  launch_.command = {"sleep 1000 & sleep 1000"};
  const auto process = spawn(launch_);
  ASSERT_TRUE(process);
  ::kill(process->pid, SIGKILL);
  EXPECT_TRUE(ends(*process));
  EXPECT_EQ(::kill(process->pid, 0), -1);
  for (int i = 0; i < 500 && ::kill(-process->pid, 0) == 0; ++i) std::this_thread::sleep_for(10ms);
  EXPECT_FALSE(find_marked(launch_.mark));
}

TEST_F(ProcessTest, OutputAndEnvironmentAreItsOwn) {
  launch_.command = {"/bin/sh", "-c", "echo $COLOUR; pwd; echo oops >&2"};
  const auto process = spawn(launch_);
  ASSERT_TRUE(process);
  ASSERT_TRUE(ends(*process));
  EXPECT_EQ(log(), "green\n" + directory_ + "\noops\n");
}

TEST_F(ProcessTest, AnotherProcessWithTheSamePidIsNotSignalled) {
  const auto process = spawn(launch_);
  ASSERT_TRUE(process);
  signal_group({.pid = process->pid, .start_time = process->start_time + 1}, SIGKILL);
  EXPECT_TRUE(is_alive(*process));
  signal_group(*process, SIGKILL);
  EXPECT_TRUE(ends(*process));
}

TEST_F(ProcessTest, ADirectoryThatIsMissingIsAnErrorWithARemedy) {
  launch_.cwd = "/nowhere";
  launch_.command = {"/bin/true", "x"};
  const auto process = spawn(launch_);
  ASSERT_FALSE(process);
  EXPECT_FALSE(process.error().remedy().empty());
}

TEST_F(ProcessTest, ALogIsRotatedWhenItIsTooLong) {
  std::ofstream(launch_.log_path) << std::string(100, 'x');
  rotate_log(launch_.log_path, 1000);
  EXPECT_EQ(log().size(), 100U);
  rotate_log(launch_.log_path, 99);
  EXPECT_TRUE(log().empty());
  EXPECT_EQ(std::filesystem::file_size(launch_.log_path + ".1"), 100U);
}

}  // namespace
}  // namespace banyan::fleet
