#include "planes/replication/pg_client.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

extern char** environ;

namespace banyan::replication {
namespace {

namespace fs = std::filesystem;

// Debian's /usr/bin/pg_dump is a script that runs one of those we find ourselves.
bool is_program(const fs::path& path) {
  std::error_code absent;
  const auto itself = fs::canonical(path, absent);
  return !absent && itself.filename() != "pg_wrapper";
}

std::vector<std::string> pg_dump_candidates() {
  std::vector<std::string> found;
  const auto add = [&](const fs::path& directory) {
    if (is_program(directory / "pg_dump")) found.push_back((directory / "pg_dump").string());
  };
  if (const char* chosen = std::getenv("BANYAN_PG_BIN")) add(chosen);
  std::error_code absent;
  for (const auto& version : fs::directory_iterator("/usr/lib/postgresql", absent)) {
    add(version.path() / "bin");
  }
  std::istringstream path(std::getenv("PATH") != nullptr ? std::getenv("PATH") : "");
  for (std::string directory; std::getline(path, directory, ':');) add(directory);
  return found;
}

}  // namespace

Result<Finished> run_program(const std::vector<std::string>& command,
                             const std::vector<std::string>& settings) {
  std::vector<char*> arguments;
  for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> environment;
  for (char** entry = environ; *entry != nullptr; entry++) environment.push_back(*entry);
  for (const auto& entry : settings) environment.push_back(const_cast<char*>(entry.c_str()));
  environment.push_back(nullptr);
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return failure(Code::kInternal, "no pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  pid_t pid = 0;
  const int spawned = posix_spawn(&pid, command[0].c_str(), &actions, nullptr, arguments.data(),
                                  environment.data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  Finished finished;
  char buffer[4096];
  for (ssize_t got; spawned == 0 && (got = read(ends[0], buffer, sizeof buffer)) > 0;) {
    finished.output.append(buffer, static_cast<std::size_t>(got));
  }
  close(ends[0]);
  if (spawned != 0) return failure(Code::kNotFound, "cannot run " + command[0]);
  while (waitpid(pid, &finished.status, 0) < 0 && errno == EINTR) {
  }
  return finished;
}

int major_of(const std::string& pg_dump) {
  auto asked = run_program({pg_dump, "--version"}, {});
  if (!asked || asked->status != 0) return 0;
  const auto digit = asked->output.find_first_of("0123456789");
  return digit == std::string::npos ? 0 : std::atoi(asked->output.c_str() + digit);
}

Result<std::string> find_pg_dump(int server_major) {
  std::string best;
  int best_major = 0;
  for (const auto& candidate : pg_dump_candidates()) {
    const int major = major_of(candidate);
    if (major > best_major) {
      best = candidate;
      best_major = major;
    }
  }
  if (best_major >= server_major) return best;
  return std::unexpected(
      Error(Code::kNotFound, fmt::format("the newest pg_dump here is {} and the source is {}",
                                         best_major, server_major))
          .with_remedy(
              fmt::format("Install postgresql-client-{} or set BANYAN_PG_BIN to the folder "
                          "of its pg_dump.",
                          server_major)));
}

}  // namespace banyan::replication
