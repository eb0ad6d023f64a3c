#include "base/proc.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace banyan {
namespace {

TEST(Proc, ReadsTheKernelsTable) {
  const auto sockets = parse_proc_net(
      "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt uid timeout "
      "inode\n"
      "   0: 0100007F:1F40 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1 0\n"
      "   1: 0100007F:1F40 0200007F:C350 01 00000000:00000000 00:00000000 00000000 0 0 4712 1 0\n");
  ASSERT_EQ(sockets.size(), 2U);
  EXPECT_EQ(sockets[0].local, "127.0.0.1:8000");
  EXPECT_TRUE(sockets[0].listening);
  EXPECT_EQ(sockets[0].inode, 4711);
  EXPECT_EQ(sockets[1].remote, "127.0.0.2:50000");
}

TEST(Proc, FindsOurOwnListeningSocket) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  const auto all = tcp_sockets();
  const auto found = std::ranges::find_if(all, [&](const TcpSocket& socket) {
    return listens_on(socket, "127.0.0.1", ntohs(address.sin_port));
  });
  ASSERT_NE(found, all.end());
  EXPECT_TRUE(socket_inodes(getpid()).contains(found->inode));
  close(fd);
  EXPECT_FALSE(socket_inodes(getpid()).contains(found->inode));
}

TEST(Proc, KnowsAProcess) {
  EXPECT_EQ(parent_of(getpid()), getppid());
  EXPECT_FALSE(program_of(getpid()).empty());
  EXPECT_EQ(environment_of(getpid()).contains("PATH"), getenv("PATH") != nullptr);
  EXPECT_TRUE(std::ranges::binary_search(all_pids(), getpid()));
}

TEST(Proc, AProcessThatIsGoneReadsAsEmpty) {
  constexpr int kNobody = 1 << 30;
  EXPECT_EQ(parent_of(kNobody), 0);
  EXPECT_TRUE(program_of(kNobody).empty());
  EXPECT_TRUE(socket_inodes(kNobody).empty());
}

}  // namespace
}  // namespace banyan
