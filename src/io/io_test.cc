#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <string>

#include "io/event.h"
#include "io/listener.h"
#include "io/loop.h"
#include "io/socket.h"
#include "io/task.h"
#include "io/workers.h"

namespace banyan::io {
namespace {

Mono soon(Loop& loop) {
  return loop.now() + 5s;
}

// A loop, a listener on a free port, and one connected pair of sockets when `connect_pair` ran.
class Sockets : public testing::Test {
 public:
  void SetUp() override {
    loop_ = *Loop::create();
    listener_ = *Listener::open(*loop_, *Address::resolve("127.0.0.1:0"));
    client_.emplace(*loop_);
    server_.emplace(*loop_);
  }

  Task<void> connect_pair() {
    const Result<void> connected = co_await client_->connect(listener_->address(), soon(*loop_));
    EXPECT_TRUE(connected);
    const int fd = co_await listener_->accept();
    EXPECT_TRUE(server_->adopt(fd));
  }

  // Runs `body` to its end on the loop.
  void run(Task<void> body) {
    run_detached(std::move(body));
    loop_->run();
  }
  Detached run_detached(Task<void> body) {
    co_await body;
    loop_->stop();
  }

  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Listener> listener_;
  std::optional<Socket> client_;
  std::optional<Socket> server_;
};

Task<int> doubled(int value) {
  co_return value * 2;
}
Task<int> nested(int depth) {
  if (depth == 0) co_return 0;
  const int below = co_await nested(depth - 1);
  co_return below + 1;
}

TEST_F(Sockets, ATaskGivesItsValueToTheOneWhoAwaitsIt) {
  const auto body = [](int& out) -> Task<void> { out = co_await doubled(21); };
  int out = 0;
  run(body(out));
  EXPECT_EQ(out, 42);
}

TEST_F(Sockets, TasksNestDeeply) {
  const auto body = [](int& out) -> Task<void> { out = co_await nested(1000); };
  int out = 0;
  run(body(out));
  EXPECT_EQ(out, 1000);
}

TEST_F(Sockets, BytesSentArriveAtThePeer) {
  const auto body = [](Sockets& t) -> Task<void> {
    co_await t.connect_pair();
    const IoResult sent = co_await t.client_->send("hello ", "world", soon(*t.loop_));
    EXPECT_EQ(sent.bytes, 11u);
    const IoResult got = co_await t.server_->recv(t.loop_->scratch(), soon(*t.loop_));
    EXPECT_EQ(std::string(t.loop_->scratch().data(), got.bytes), "hello world");
  };
  run(body(*this));
}

TEST_F(Sockets, BytesMoveThroughAPipeUnseen) {
  const auto body = [](Sockets& t) -> Task<void> {
    co_await t.connect_pair();
    const auto pipe = *Pipe::create();
    const IoResult sent = co_await t.client_->send("hello world", soon(*t.loop_));
    EXPECT_TRUE(sent.ok());
    const IoResult taken = co_await t.server_->move_in(*pipe, {.most = 5}, soon(*t.loop_));
    EXPECT_EQ(taken.bytes, 5u);
    EXPECT_FALSE(pipe->is_empty());
    const IoResult moved = co_await t.server_->move_out(*pipe, soon(*t.loop_));  // and back
    EXPECT_EQ(moved.bytes, 5u);
    EXPECT_TRUE(pipe->is_empty());
    const IoResult got = co_await t.client_->recv(t.loop_->scratch(), soon(*t.loop_));
    EXPECT_EQ(std::string(t.loop_->scratch().data(), got.bytes), "hello");
    const IoResult rest = co_await t.server_->recv(t.loop_->scratch(), soon(*t.loop_));
    EXPECT_EQ(std::string(t.loop_->scratch().data(), rest.bytes), " world");
  };
  run(body(*this));
}

TEST_F(Sockets, MovingEndsWithThePeerOrTheDeadline) {
  const auto body = [](Sockets& t) -> Task<void> {
    co_await t.connect_pair();
    const auto pipe = *Pipe::create();
    const Mono at_once = t.loop_->now() + 1ms;
    const IoResult late = co_await t.server_->move_in(*pipe, {.most = 5}, at_once);
    EXPECT_EQ(late.status, IoStatus::kTimeout);
    t.client_->shutdown_send();
    const IoResult end = co_await t.server_->move_in(*pipe, {.most = 5}, soon(*t.loop_));
    EXPECT_EQ(end.status, IoStatus::kEnd);
  };
  run(body(*this));
}

TEST_F(Sockets, ALargeSendWaitsForASlowReader) {
  static constexpr std::size_t kBytes = 32 * 1024 * 1024;
  struct Reader {
    static Detached drain(Socket& socket, std::size_t& total, bool& right, Event& done) {
      Loop& loop = socket.loop();
      while (true) {
        const IoResult got = co_await socket.recv(loop.scratch(), soon(loop));
        if (!got.ok()) break;
        for (std::size_t i = 0; i < got.bytes; ++i)
          right = right && loop.scratch()[i] == static_cast<char>((total + i) * 31 % 251);
        total += got.bytes;
      }
      done.set();
    }
  };
  const auto body = [](Sockets& t) -> Task<void> {
    co_await t.connect_pair();
    std::string bytes(kBytes, '\0');
    for (std::size_t i = 0; i < kBytes; ++i) bytes[i] = static_cast<char>(i * 31 % 251);
    Event done(*t.loop_);
    std::size_t total = 0;
    bool right = true;
    Reader::drain(*t.server_, total, right, done);
    const IoResult sent = co_await t.client_->send(bytes, soon(*t.loop_));
    EXPECT_TRUE(sent.ok());
    t.client_->shutdown_send();
    co_await done.wait(soon(*t.loop_));
    EXPECT_EQ(total, kBytes);
    EXPECT_TRUE(right);
  };
  run(body(*this));
}

TEST_F(Sockets, AReceiveEndsAtItsDeadline) {
  const auto body = [](Sockets& t) -> Task<void> {
    co_await t.connect_pair();
    const Mono deadline = t.loop_->now() + 5ms;
    const IoResult got = co_await t.server_->recv(t.loop_->scratch(), deadline);
    EXPECT_EQ(got.status, IoStatus::kTimeout);
    (void)co_await t.client_->send("x", soon(*t.loop_));
    const IoResult later = co_await t.server_->recv(t.loop_->scratch(), soon(*t.loop_));
    EXPECT_EQ(later.bytes, 1u);
  };
  run(body(*this));
}

TEST_F(Sockets, AHalfClosedPeerStillReads) {
  const auto body = [](Sockets& t) -> Task<void> {
    co_await t.connect_pair();
    (void)co_await t.client_->send("ask", soon(*t.loop_));
    t.client_->shutdown_send();
    const IoResult asked = co_await t.server_->recv(t.loop_->scratch(), soon(*t.loop_));
    EXPECT_EQ(asked.bytes, 3u);
    const IoResult end = co_await t.server_->recv(t.loop_->scratch(), soon(*t.loop_));
    EXPECT_EQ(end.status, IoStatus::kEnd);
    EXPECT_FALSE(t.server_->is_broken());
    (void)co_await t.server_->send("answer", soon(*t.loop_));
    const IoResult answer = co_await t.client_->recv(t.loop_->scratch(), soon(*t.loop_));
    EXPECT_EQ(answer.bytes, 6u);
  };
  run(body(*this));
}

TEST_F(Sockets, CancelWakesAWaitingReceiver) {
  struct Waiter {
    static Detached receive(Socket& socket, IoStatus& status, Event& done) {
      const IoResult got = co_await socket.recv(socket.loop().scratch(), kNever);
      status = got.status;
      done.set();
    }
  };
  const auto body = [](Sockets& t) -> Task<void> {
    co_await t.connect_pair();
    Event done(*t.loop_);
    IoStatus status = IoStatus::kOk;
    Waiter::receive(*t.server_, status, done);
    t.server_->cancel();
    EXPECT_TRUE(co_await done.wait(soon(*t.loop_)));
    EXPECT_EQ(status, IoStatus::kCancelled);
  };
  run(body(*this));
}

struct Watcher final : IdleObserver {
  explicit Watcher(Loop& loop) : seen(loop) {}
  void on_idle_activity(Socket&) override { seen.set(); }
  Event seen;
};

TEST_F(Sockets, RoomToSendIsNoActivityOfAnIdleSocket) {
  struct Reader {
    static Detached drain(Socket& socket, std::size_t bytes) {
      while (bytes > 0) {
        const IoResult got = co_await socket.recv(socket.loop().scratch(), soon(socket.loop()));
        if (!got.ok()) break;
        bytes -= got.bytes;
      }
    }
  };
  const auto body = [](Sockets& t) -> Task<void> {
    co_await t.connect_pair();
    const auto pipe = *Pipe::create();
    (void)co_await t.server_->send("hello", soon(*t.loop_));
    const IoResult taken = co_await t.client_->move_in(*pipe, {.most = 5}, soon(*t.loop_));
    EXPECT_EQ(taken.bytes, 5u);
    Watcher watcher(*t.loop_);
    t.client_->set_idle_observer(&watcher);
    const std::string large(std::size_t{32} << 20, 'x');
    Reader::drain(*t.server_, large.size());
    const IoResult sent = co_await t.client_->send(large, soon(*t.loop_));
    EXPECT_EQ(sent.bytes, large.size());
    EXPECT_FALSE(watcher.seen.is_set());
  };
  run(body(*this));
}

TEST_F(Sockets, AnIdleSocketReportsThePeersEnd) {
  const auto body = [](Sockets& t) -> Task<void> {
    co_await t.connect_pair();
    Watcher watcher(*t.loop_);
    t.client_->set_idle_observer(&watcher);
    t.server_->close();
    EXPECT_TRUE(co_await watcher.seen.wait(soon(*t.loop_)));
    EXPECT_TRUE(t.client_->peer_ended());
  };
  run(body(*this));
}

TEST_F(Sockets, ConnectingToAClosedPortFailsSafely) {
  const auto body = [](Sockets& t) -> Task<void> {
    const Address at = t.listener_->address();
    t.listener_->close();
    const Result<void> connected = co_await t.client_->connect(at, soon(*t.loop_));
    EXPECT_FALSE(connected);
    if (!connected) EXPECT_EQ(connected.error().retry(), Retry::kSafe);
  };
  run(body(*this));
}

TEST_F(Sockets, AClosedListenerEndsItsAccept) {
  struct Acceptor {
    static Detached accept(Listener& listener, int& fd, Event& done) {
      fd = co_await listener.accept();
      done.set();
    }
  };
  const auto body = [](Sockets& t) -> Task<void> {
    Event done(*t.loop_);
    int fd = 0;
    Acceptor::accept(*t.listener_, fd, done);
    t.listener_->close();
    EXPECT_TRUE(co_await done.wait(soon(*t.loop_)));
    EXPECT_EQ(fd, Listener::kClosed);
  };
  run(body(*this));
}

TEST_F(Sockets, TimersFireInOrderAndMayBeMoved) {
  struct Sleeper {
    static Detached sleep(Loop& loop, Mono until, std::string& order, char name) {
      co_await loop.sleep_until(until);
      order += name;
    }
  };
  const auto body = [](Sockets& t) -> Task<void> {
    const Mono start = t.loop_->now();
    std::string order;
    for (const int ms : {9, 3, 7, 1, 5})
      Sleeper::sleep(*t.loop_, start + std::chrono::milliseconds(ms), order,
                     static_cast<char>('0' + ms));
    co_await t.loop_->sleep_until(start + 15ms);
    EXPECT_EQ(order, "13579");
  };
  run(body(*this));
}

TEST_F(Sockets, AnEventNotSetInTimeIsFalse) {
  const auto body = [](Sockets& t) -> Task<void> {
    Event event(*t.loop_);
    EXPECT_FALSE(co_await event.wait(t.loop_->now() + 2ms));
    event.set();
    EXPECT_TRUE(co_await event.wait(t.loop_->now() + 2ms));
  };
  run(body(*this));
}

TEST(Workers, RunOnAllCompletesAfterTheLastWorker) {
  auto workers = *Workers::start(4);
  std::atomic<int> ran = 0;
  for (int round = 1; round <= 100; ++round) {
    workers->run_on_all([&](std::size_t) { ++ran; });
    EXPECT_EQ(ran, 4 * round);
  }
}

TEST(Workers, PostedWorkRunsInOrder) {
  auto workers = *Workers::start(1);
  std::vector<int> seen;
  for (int i = 0; i < 1000; ++i) workers->loop(0).post([&seen, i] { seen.push_back(i); });
  workers->run_on_all([](std::size_t) {});
  ASSERT_EQ(seen.size(), 1000u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST(Workers, EveryWorkerListensOnTheSameAddress) {
  auto workers = *Workers::start(2);
  Address at = *Address::resolve("127.0.0.1:0");
  std::vector<std::unique_ptr<Listener>> listeners(2);
  workers->run_on(0, [&] { listeners[0] = *Listener::open(workers->loop(0), at); });
  at = listeners[0]->address();
  workers->run_on(1, [&] { listeners[1] = *Listener::open(workers->loop(1), at); });
  EXPECT_EQ(listeners[1]->address().port(), at.port());
  workers->run_on_all([&](std::size_t worker) { listeners[worker].reset(); });
}

TEST(Address, TextIsWhatResolveTakes) {
  EXPECT_EQ(Address::resolve("127.0.0.1:80")->text(), "127.0.0.1:80");
  EXPECT_EQ(Address::resolve("[::1]:8443")->text(), "[::1]:8443");
  EXPECT_EQ(Address::resolve("unix:/run/app.sock")->text(), "unix:/run/app.sock");
}

TEST(Address, WithoutAPortIsRefused) {
  EXPECT_FALSE(Address::resolve("127.0.0.1"));
  EXPECT_FALSE(Address::resolve("127.0.0.1:"));
  EXPECT_FALSE(Address::resolve("unix:" + std::string(200, 'x')));
}

}  // namespace
}  // namespace banyan::io
