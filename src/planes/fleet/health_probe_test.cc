#include "planes/fleet/health_probe.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace banyan::fleet {
namespace {

// Listens; answers one connection with `answer`, or not at all when it is empty.
class OneAnswer {
 public:
  explicit OneAnswer(std::string answer) : answer_(std::move(answer)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_, 4), 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    if (!answer_.empty()) thread_ = std::thread([this] { serve(); });
  }
  ~OneAnswer() {
    ::shutdown(fd_, SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    ::close(fd_);
  }
  int port = 0;
  std::string request;

 private:
  void serve() {
    const int peer = ::accept(fd_, nullptr, nullptr);
    char buffer[2048];
    const auto size = ::read(peer, buffer, sizeof buffer);
    if (size > 0) request.assign(buffer, static_cast<std::size_t>(size));
    EXPECT_GT(::write(peer, answer_.data(), answer_.size()), 0);
    ::close(peer);
  }
  std::string answer_;
  int fd_ = -1;
  std::thread thread_;
};

class HealthProbeTest : public testing::Test {
 protected:
  Health probe(int port, std::string path = "/up", Duration timeout = 20s) {
    probe_.begin({.instance = "web-1",
                  .host = "127.0.0.1",
                  .port = port,
                  .path = std::move(path),
                  .host_header = "shop.example",
                  .timeout = timeout});
    while (true) {
      const auto outcomes = probe_.run(5ms);
      if (!outcomes.empty()) return outcomes[0].health;
    }
  }
  SystemClock clock_;
  HealthProbe probe_{clock_};
};

TEST_F(HealthProbeTest, AnAnswerOf200IsGoodAndTheHostIsTheOneGiven) {
  OneAnswer server("HTTP/1.1 200 OK\r\n\r\n");
  EXPECT_EQ(probe(server.port), Health::kGood);
  EXPECT_NE(server.request.find("Host: shop.example\r\n"), std::string::npos);
  EXPECT_TRUE(server.request.starts_with("GET /up HTTP/1.1\r\n"));
}

TEST_F(HealthProbeTest, AnErrorOrNonsenseIsBad) {
  OneAnswer error("HTTP/1.1 503 Service Unavailable\r\n\r\n");
  EXPECT_EQ(probe(error.port), Health::kBad);
  OneAnswer nonsense("SSH-2.0-OpenSSH_9.2 200\r\n");
  EXPECT_EQ(probe(nonsense.port), Health::kBad);
}

TEST_F(HealthProbeTest, NobodyListeningIsBad) {
  EXPECT_EQ(probe(1), Health::kBad);
}

TEST_F(HealthProbeTest, NoAnswerWithinTheTimeoutIsBad) {
  OneAnswer silent("");
  EXPECT_EQ(probe(silent.port, "/up", 30ms), Health::kBad);
}

TEST_F(HealthProbeTest, WithoutAPathAConnectionIsEnough) {
  OneAnswer silent("");
  EXPECT_EQ(probe(silent.port, ""), Health::kGood);
}

}  // namespace
}  // namespace banyan::fleet
