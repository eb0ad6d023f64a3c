#include "planes/replication/writer_origin.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <utility>

namespace banyan::replication {
namespace {

std::string local_end(int fd) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return fmt::format("127.0.0.1:{}", ntohs(address.sin_port));
}

// A server on a free port of this process, and one client of it.
class Connected {
 public:
  Connected() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    bind(server_, reinterpret_cast<sockaddr*>(&address), size);
    listen(server_, 1);
    getsockname(server_, reinterpret_cast<sockaddr*>(&address), &size);
    connect(client_, reinterpret_cast<sockaddr*>(&address), size);
    server_end = local_end(server_);
    client_end = local_end(client_);
  }
  ~Connected() {
    if (client_ >= 0) close(client_);
    close(server_);
  }
  Connected(const Connected&) = delete;
  Connected& operator=(const Connected&) = delete;
  void end() { close(std::exchange(client_, -1)); }

  std::string server_end;
  std::string client_end;

 private:
  int server_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int client_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
};

std::optional<Provenance> asked(WriterOrigins origins, const Client& client) {
  origins.look({client});
  origins.look({client});  // the first may meet a list of sockets that changes
  return origins.of(client);
}

TEST(WriterOrigins, AProcessThatListensAsTheApplicationIsTheApplication) {
  const Connected pair;
  const auto found = asked(WriterOrigins(pair.server_end), {1, pair.client_end});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->origin, Origin::kApplication);
  EXPECT_EQ(found->program, program_of(getpid()));
}

TEST(WriterOrigins, AnyOtherProcessOfThisMachineIsAStrangerWithItsProgram) {
  const Connected pair;
  const auto found = asked(WriterOrigins(""), {1, pair.client_end});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->origin, Origin::kStranger);
  EXPECT_EQ(found->program, program_of(getpid()));
}

TEST(WriterOrigins, AClientOfAnotherMachineIsAStranger) {
  const auto found = asked(WriterOrigins(""), {1, "192.0.2.1:4000"});
  ASSERT_TRUE(found);
  EXPECT_EQ(found->origin, Origin::kStranger);
  EXPECT_TRUE(found->program.empty());
}

// The kernel keeps the closed end a while, without an owner.
TEST(WriterOrigins, AnEndedConnectionIsNobodys) {
  Connected pair;
  pair.end();
  EXPECT_FALSE(asked(WriterOrigins(pair.server_end), {1, pair.client_end}));
}

}  // namespace
}  // namespace banyan::replication
