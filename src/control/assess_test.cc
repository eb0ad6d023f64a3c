#include "control/assess.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "control/http_probe.h"

namespace banyan::control {
namespace {

namespace fs = std::filesystem;

// Answers every request on a free port with one status line until it is destroyed.
class OneAnswer {
 public:
  explicit OneAnswer(std::string head) : head_(std::move(head)) {
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    bind(fd_, reinterpret_cast<sockaddr*>(&address), size);
    listen(fd_, 8);
    getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~OneAnswer() {
    shutdown(fd_, SHUT_RDWR);
    thread_.join();
    close(fd_);
  }
  int port() const { return port_; }

 private:
  void serve() const {
    while (true) {
      const int client = accept(fd_, nullptr, nullptr);
      if (client < 0) return;
      std::array<char, 1024> request{};
      if (recv(client, request.data(), request.size(), 0) > 0) {
        send(client, head_.data(), head_.size(), MSG_NOSIGNAL);
      }
      close(client);
    }
  }
  std::string head_;
  int fd_ = -1;
  int port_ = 0;
  std::thread thread_;
};

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (fs::temp_directory_path() / "assessXXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~TemporaryFolder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

spec::Spec spec_with(int port, const fs::path& files) {
  const auto text = fmt::format(
      "banyan: 1\nname: shop\nsource:\n  app: {{ listen: 127.0.0.1:{} }}\n"
      "  files: [ {{ name: media, path: {} }} ]\n",
      port, files.string());
  auto outcome = spec::parse_spec(text, "/etc/banyan.yaml");
  for (const auto& problem : outcome.problems) ADD_FAILURE() << format(problem);
  return outcome.spec;
}

std::vector<std::string> ids_of(const nlohmann::json& report) {
  std::vector<std::string> ids;
  for (const auto& item : report["items"]) ids.push_back(item["id"]);
  return ids;
}

TEST(Assess, CountsFilesAndProbesHealth) {
  const TemporaryFolder folder;
  fs::create_directories(folder.path() / "2026");
  std::ofstream(folder.path() / "2026" / "a.pdf") << "12345";
  std::ofstream(folder.path() / "b.pdf") << "123";
  const OneAnswer app("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");

  const auto report = assess(spec_with(app.port(), folder.path()));

  ASSERT_TRUE(report);
  EXPECT_EQ((*report)["files"][0]["files"], 2);
  EXPECT_EQ((*report)["files"][0]["bytes"], 8);
  EXPECT_EQ((*report)["health"][0]["status"], 200);
  EXPECT_EQ((*report)["summary"]["must"], 0);
  EXPECT_EQ((*report)["app"]["process"]["pids"][0], getpid());
}

TEST(Assess, WhatDoesNotAnswerOrExistMustBeRepaired) {
  int port = 0;
  {
    const OneAnswer gone("");
    port = gone.port();
  }
  const auto report = assess(spec_with(port, "/nonexistent"));
  ASSERT_TRUE(report);
  EXPECT_THAT(ids_of(*report), testing::IsSupersetOf({"app.answers", "files.media"}));
}

TEST(Assess, ARefusedHostIsSaidToBeOne) {
  const TemporaryFolder folder;
  const OneAnswer app("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  const auto report = assess(spec_with(app.port(), folder.path()));
  EXPECT_THAT(ids_of(*report), testing::Contains("health.host"));
}

TEST(Assess, NeedsASource) {
  EXPECT_EQ(assess({}).error().code(), Code::kInvalidArgument);
}

TEST(HttpProbe, TellsAnAnswerFromNoise) {
  const OneAnswer web("HTTP/1.1 302 Found\r\n\r\n");
  EXPECT_EQ(*probe({{"127.0.0.1", web.port()}, "/", "localhost"}, 2s), 302);
  const OneAnswer noise("SSH-2.0-x\r\n");
  EXPECT_FALSE(probe({{"127.0.0.1", noise.port()}, "/", "localhost"}, 2s));
}

}  // namespace
}  // namespace banyan::control
