#include "wire/redis/client.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace banyan::redis {
namespace {

// Accepts connections one after another; each is answered with its script and closed.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::vector<std::string> scripts) : scripts_(std::move(scripts)) {
    fd_ = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_, 4), 0);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~ScriptedServer() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  std::string url() const { return fmt::format("redis://127.0.0.1:{}", port_); }

 private:
  void serve() {
    for (const std::string& script : scripts_) {
      const int peer = ::accept(fd_, nullptr, nullptr);
      if (peer < 0) return;
      char buffer[4096];
      for (std::size_t at = 0; at < script.size();) {
        if (::read(peer, buffer, sizeof buffer) <= 0) break;
        const auto end = script.find('|', at);
        const auto reply = script.substr(at, end == std::string::npos ? end : end - at);
        EXPECT_EQ(::write(peer, reply.data(), reply.size()), static_cast<ssize_t>(reply.size()));
        at = end == std::string::npos ? script.size() : end + 1;
      }
      ::close(peer);
    }
  }

  std::vector<std::string> scripts_;
  int fd_ = -1;
  int port_ = 0;
  std::thread thread_;
};

TEST(RedisUrl, NamesHostPortPasswordAndDatabase) {
  const auto address = parse_url("redis://:p%40ss@cache.example:6380/3");
  ASSERT_TRUE(address);
  EXPECT_EQ(address->host, "cache.example");
  EXPECT_EQ(address->port, 6380);
  EXPECT_EQ(address->password, "p@ss");
  EXPECT_EQ(address->database, 3);
}

TEST(RedisUrl, DefaultsAreTheServersOwn) {
  const auto address = parse_url("redis://localhost");
  ASSERT_TRUE(address);
  EXPECT_EQ(address->port, 6379);
  EXPECT_EQ(address->database, 0);
}

TEST(RedisUrl, WhatIsNotOneIsRefused) {
  EXPECT_FALSE(parse_url("http://localhost"));
  EXPECT_FALSE(parse_url("redis://localhost:seventy"));
  EXPECT_FALSE(parse_url("redis://localhost:6379/x"));
}

TEST(RedisClient, RepliesKeepTheirBytes) {
  ScriptedServer server({std::string("+PONG\r\n|$3\r\na\0b\r\n", 18)});
  auto client = Client::connect(server.url());
  ASSERT_TRUE(client);
  const auto reply = client->command({"GET", "key"});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->text, std::string("a\0b", 3));
}

TEST(RedisClient, ADeadConnectionIsReplacedBeforeTheNextCall) {
  ScriptedServer server({"+PONG\r\n|:1\r\n", "+PONG\r\n|:2\r\n"});
  auto client = Client::connect(server.url());
  ASSERT_TRUE(client);
  ASSERT_EQ(client->command({"INCR", "n"})->integer, 1);
  auto second = client->command({"INCR", "n"});
  if (!second) second = client->command({"INCR", "n"});  // the end may arrive after the sending
  ASSERT_TRUE(second) << second.error().message();
  EXPECT_EQ(second->integer, 2);
}

TEST(RedisClient, AWrongPasswordIsAPermissionErrorWithARemedy) {
  ScriptedServer server({"-WRONGPASS invalid\r\n"});
  const auto client = Client::connect(server.url());
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), Code::kPermission);
  EXPECT_FALSE(client.error().remedy().empty());
}

TEST(RedisClient, NobodyListeningIsUnavailable) {
  const auto client = Client::connect("redis://127.0.0.1:1", 1s);
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace banyan::redis
