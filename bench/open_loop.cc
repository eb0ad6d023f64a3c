// Open-loop load: requests leave when their time has come, whether or not earlier ones were
// answered, and a response time counts from when the request should have left (so a stall is seen
// by all the requests that fell into it). HTTP/1.1, keep-alive, GET, one thread.
//
//   open_loop PORT PATH RATE SECONDS CONNECTIONS
//   -> "due 20000 answered 20000 failed 0 p50_us 130 p99_us 840"
//
// A request whose time has come waits here for a free connection; that wait counts. What is not
// answered five seconds after the end is given up.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

struct Connection {
  int fd = -1;
  Time due{};
  std::string received;
};

struct Totals {
  long due = 0;
  long failed = 0;
  std::vector<long> took_us;
};

int connect_to(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<unsigned short>(port));
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) != 0) {
    std::perror("connect");
    std::exit(1);
  }
  return fd;
}

// The size of the whole answer; 0: its head is not complete.
std::size_t answer_size(const std::string& text) {
  const auto end = text.find("\r\n\r\n");
  if (end == std::string::npos) return 0;
  const char* const length = strcasestr(text.c_str(), "\r\ncontent-length:");
  return end + 4 + (length != nullptr ? std::strtoul(length + 17, nullptr, 10) : 0);
}

// True when the answer is whole.
bool receive(Connection& connection, Totals& totals) {
  char buffer[65536];
  const ssize_t got = recv(connection.fd, buffer, sizeof buffer, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return false;
  if (got <= 0) {
    std::fprintf(stderr, "a connection ended\n");
    std::exit(1);
  }
  connection.received.append(buffer, static_cast<std::size_t>(got));
  const std::size_t size = answer_size(connection.received);
  if (size == 0 || connection.received.size() < size) return false;
  if (connection.received.compare(9, 3, "200") != 0) ++totals.failed;
  const auto took = Clock::now() - connection.due;
  totals.took_us.push_back(std::chrono::duration_cast<std::chrono::microseconds>(took).count());
  connection.received.clear();
  return true;
}

class Run {
 public:
  Run(int port, const std::string& path, long rate, int connections)
      : request_("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n"),
        gap_(std::chrono::nanoseconds(1'000'000'000 / rate)),
        epoll_(epoll_create1(0)),
        all_(static_cast<std::size_t>(connections)) {
    for (Connection& connection : all_) {
      connection.fd = connect_to(port);
      epoll_event event{.events = EPOLLIN, .data = {.ptr = &connection}};
      epoll_ctl(epoll_, EPOLL_CTL_ADD, connection.fd, &event);
      free_.push_back(&connection);
    }
  }

  Totals run(int seconds) {
    const Time begin = Clock::now();
    const Time end = begin + std::chrono::seconds(seconds);
    const Time last = end + std::chrono::seconds(5);  // for answers
    next_ = begin;
    while (Clock::now() < last && (next_ < end || free_.size() < all_.size() || !late_.empty())) {
      for (const Time now = Clock::now(); next_ <= now && next_ < end; next_ += gap_) {
        late_.push_back(next_);
        ++totals_.due;
      }
      send_late();
      wait(next_ < end);
    }
    return totals_;
  }

 private:
  void send_late() {
    while (!late_.empty() && !free_.empty()) {
      Connection& connection = *free_.back();
      free_.pop_back();
      connection.due = late_.front();
      late_.pop_front();
      if (send(connection.fd, request_.data(), request_.size(), MSG_NOSIGNAL) < 0) ++totals_.failed;
    }
  }

  void wait(bool more_to_send) {
    epoll_event events[256];
    const auto left = std::max(next_ - Clock::now(), Clock::duration::zero());
    timespec pause{
        .tv_sec = 0,
        .tv_nsec = more_to_send ? std::min<long>(left.count(), 999'999'999) : 100'000'000};
    const int ready = epoll_pwait2(epoll_, events, 256, &pause, nullptr);
    for (int i = 0; i < ready; ++i) {
      auto* const connection = static_cast<Connection*>(events[i].data.ptr);
      if (receive(*connection, totals_)) free_.push_back(connection);
    }
  }

  std::string request_;
  Clock::duration gap_;
  int epoll_;
  std::vector<Connection> all_;
  std::vector<Connection*> free_;
  std::deque<Time> late_;  // their time has come, and no connection was free
  Time next_{};
  Totals totals_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  Run run(std::atoi(argv[1]), argv[2], std::atol(argv[3]), std::atoi(argv[5]));
  Totals totals = run.run(std::atoi(argv[4]));
  std::ranges::sort(totals.took_us);
  if (totals.took_us.empty()) return 1;
  const auto at = [&](double share) {
    return totals
        .took_us[static_cast<std::size_t>(share * static_cast<double>(totals.took_us.size() - 1))];
  };
  std::printf("due %ld answered %zu failed %ld p50_us %ld p99_us %ld\n", totals.due,
              totals.took_us.size(), totals.failed, at(0.5), at(0.99));
  return 0;
}
