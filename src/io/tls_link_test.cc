#include "io/tls_link.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <string>

#include "io/dev_ca.h"
#include "io/event.h"
#include "io/listener.h"
#include "io/socket.h"

namespace banyan::io {
namespace {

Mono soon(Loop& loop) {
  return loop.now() + 20s;
}

// Two sockets that speak TLS with each other, once `connect` ran.
class TlsPair : public testing::Test {
 public:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) / ("tls_link." + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
    ASSERT_TRUE(create_dev_ca(folder_));
    const auto issued = issue_certificate(folder_, {.names = {"a.example"}});
    ASSERT_TRUE(issued);
    const CertificateFiles files{.certificate = issued->certificate, .key = issued->key};
    server_tls_ = *TlsServer::create({.certificates = {files}});
    client_tls_ = *TlsClient::create({.ca = folder_ / "ca.pem", .server_name = "a.example"});
    loop_ = *Loop::create();
    listener_ = *Listener::open(*loop_, *Address::resolve("127.0.0.1:0"));
    client_.emplace(*loop_);
    server_.emplace(*loop_);
    done_.emplace(*loop_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  Detached accept() {
    const int fd = co_await listener_->accept();
    EXPECT_TRUE(server_->adopt(fd));
    const Result<void> shaken = co_await server_->start_tls(*server_tls_, soon(*loop_));
    EXPECT_TRUE(shaken);
    done_->set();
  }
  Task<void> connect() {
    const Result<void> connected = co_await client_->connect(listener_->address(), soon(*loop_));
    EXPECT_TRUE(connected);
    accept();
    const Result<void> shaken = co_await client_->start_tls(*client_tls_, soon(*loop_));
    EXPECT_TRUE(shaken);
    EXPECT_TRUE(co_await done_->wait(soon(*loop_)));
    done_->reset();
  }
  // Reads `bytes`, and sees that they are those of `pattern`.
  Detached read(Socket& socket, std::size_t bytes) {
    std::size_t total = 0;
    bool right = true;
    while (total < bytes) {
      const IoResult got = co_await socket.recv(loop_->scratch(), soon(*loop_));
      EXPECT_TRUE(got.ok());
      if (!got.ok()) break;
      for (std::size_t i = 0; i < got.bytes; ++i) right &= loop_->scratch()[i] == at(total + i);
      total += got.bytes;
    }
    EXPECT_EQ(total, bytes);
    EXPECT_TRUE(right);
    done_->set();
  }
  static char at(std::size_t i) { return static_cast<char>(i * 31 % 251); }
  static std::string pattern(std::size_t bytes) {
    std::string out(bytes, '\0');
    for (std::size_t i = 0; i < bytes; ++i) out[i] = at(i);
    return out;
  }
  void run(Task<void> body) {
    run_detached(std::move(body));
    loop_->run();
  }
  Detached run_detached(Task<void> body) {
    co_await body;
    loop_->stop();
  }

  std::filesystem::path folder_;
  std::shared_ptr<TlsServer> server_tls_;
  std::shared_ptr<TlsClient> client_tls_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Listener> listener_;
  std::optional<Socket> client_;
  std::optional<Socket> server_;
  std::optional<Event> done_;
};

TEST_F(TlsPair, BytesOfEverySizeArriveInOrder) {
  const auto body = [](TlsPair& t) -> Task<void> {
    co_await t.connect();
    for (const std::size_t size : {1, 16'383, 16'384, 16'385, 131'072, 300'000}) {
      const std::string bytes = pattern(size);
      const std::string_view view = bytes;
      t.read(*t.client_, size);
      const IoResult sent =
          co_await t.server_->send(view.substr(0, size / 3), view.substr(size / 3), soon(*t.loop_));
      EXPECT_EQ(sent.bytes, size);
      EXPECT_TRUE(co_await t.done_->wait(soon(*t.loop_)));
      t.done_->reset();
    }
  };
  run(body(*this));
}

TEST_F(TlsPair, WhatASlowReaderDoesNotTakeWaitsAndNothingIsLeftForOthers) {
  const auto body = [](TlsPair& t) -> Task<void> {
    co_await t.connect();
    const std::string large = pattern(std::size_t{32} << 20);
    const Mono at_once = t.loop_->now() + 20ms;
    const IoResult late = co_await t.server_->send(large, at_once);
    EXPECT_EQ(late.status, IoStatus::kTimeout);
    EXPECT_TRUE(t.loop_->outbox().empty());
    t.read(*t.client_, late.bytes);  // all that was sealed arrives, although nobody sends any more
    EXPECT_TRUE(co_await t.done_->wait(soon(*t.loop_)));
  };
  run(body(*this));
}

TEST_F(TlsPair, TheNoticeOfTheEndArrives) {
  const auto body = [](TlsPair& t) -> Task<void> {
    co_await t.connect();
    t.server_->shutdown_send();
    const IoResult end = co_await t.client_->recv(t.loop_->scratch(), soon(*t.loop_));
    EXPECT_EQ(end.status, IoStatus::kEnd);
  };
  run(body(*this));
}

TEST_F(TlsPair, AConnectionCutOffIsAFailure) {
  const auto body = [](TlsPair& t) -> Task<void> {
    co_await t.connect();
    ::shutdown(t.server_->fd(), SHUT_RDWR);
    const IoResult end = co_await t.client_->recv(t.loop_->scratch(), soon(*t.loop_));
    EXPECT_EQ(end.status, IoStatus::kFailed);
  };
  run(body(*this));
}

}  // namespace
}  // namespace banyan::io
