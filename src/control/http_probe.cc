#include "control/http_probe.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

namespace banyan::control {
namespace {

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

std::unexpected<Error> system_failure(std::string_view what) {
  const bool timed_out = errno == EAGAIN || errno == EINPROGRESS;
  return failure(timed_out ? Code::kTimeout : Code::kUnavailable,
                 fmt::format("{}: {}", what, std::strerror(errno)));
}

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

AddressList look_up(const spec::Address& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const auto port = std::to_string(address.port);
  if (getaddrinfo(address.host.c_str(), port.c_str(), &hints, &list) != 0) list = nullptr;
  return {list, &freeaddrinfo};
}

void limit_time(int fd, Duration timeout) {
  const auto ms = to_ms(timeout);
  const timeval limit{.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);  // bounds connect() too
}

Result<void> send_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const auto sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return system_failure("sending");
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
  return {};
}

// "HTTP/1.1 200 OK" → 200.
Result<int> receive_status(int fd) {
  std::string head;
  std::array<char, 512> buffer{};
  while (head.find("\r\n") == std::string::npos && head.size() < 4096) {
    const auto received = recv(fd, buffer.data(), buffer.size(), 0);
    if (received < 0) return system_failure("waiting for an answer");
    if (received == 0) break;
    head.append(buffer.data(), static_cast<std::size_t>(received));
  }
  int status = 0;
  const auto space = head.find(' ');
  if (!head.starts_with("HTTP/") || space == std::string::npos) {
    return failure(Code::kUnavailable, "what answers does not speak HTTP");
  }
  std::from_chars(head.data() + space + 1, head.data() + head.size(), status);
  return status;
}

}  // namespace

Result<int> probe(const ProbeRequest& request, Duration timeout) {
  const auto list = look_up(request.address);
  if (!list) return failure(Code::kNotFound, "no address for " + request.address.host);
  const Socket socket(::socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.fd() < 0) return system_failure("opening a socket");
  limit_time(socket.fd(), timeout);
  if (connect(socket.fd(), list->ai_addr, list->ai_addrlen) != 0) {
    return system_failure("connecting");
  }
  TRY_VOID(send_all(socket.fd(), fmt::format("GET {} HTTP/1.1\r\nHost: {}\r\n"
                                             "User-Agent: banyan-assess\r\nAccept: */*\r\n"
                                             "X-Forwarded-Proto: https\r\n"
                                             "Connection: close\r\n\r\n",
                                             request.path, request.host)));
  return receive_status(socket.fd());
}

}  // namespace banyan::control
