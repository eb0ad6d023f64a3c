#include "io/channel.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace banyan::io {
namespace {

constexpr std::size_t kDescriptorsMax = 64;  // of one message

std::unexpected<Error> failed(std::string_view call) {
  return failure(Code::kUnavailable, fmt::format("{}: {}", call, std::strerror(errno)));
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  if (path.size() >= sizeof at.sun_path)
    return failure(Code::kInvalidArgument, fmt::format("{} is too long for a Unix socket", path));
  std::memcpy(at.sun_path, path.c_str(), path.size() + 1);
  return at;
}

Result<Descriptor> packet_socket() {
  Descriptor made(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!made.is_open()) return failed("socket");
  return made;
}

void take_descriptors(msghdr& message, std::vector<Descriptor>& out) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      out.emplace_back(fd);
    }
  }
}

using Rights = std::array<char, CMSG_SPACE(kDescriptorsMax * sizeof(int))>;

}  // namespace

Result<Channel> Channel::connect(const std::string& path) {
  TRY(const sockaddr_un at, address_of(path));
  TRY(Descriptor socket, packet_socket());
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0)
    return failed("connect " + path);
  return Channel(std::move(socket));
}

Result<void> Channel::send(std::string_view text, std::span<const int> descriptors) {
  if (text.size() > kMessageBytesMax || descriptors.size() > kDescriptorsMax)
    return failure(Code::kInvalidArgument, "message is too large for a channel");
  iovec piece{.iov_base = const_cast<char*>(text.data()), .iov_len = text.size()};
  alignas(cmsghdr) Rights rights{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = rights.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* const part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(part), descriptors.data(), descriptors.size_bytes());
  }
  if (::sendmsg(socket_.get(), &message, MSG_NOSIGNAL) < 0) return failed("send");
  return {};
}

Result<Channel::Message> Channel::receive(Duration patience) {
  pollfd readable{.fd = socket_.get(), .events = POLLIN, .revents = 0};
  const int ready = ::poll(&readable, 1, static_cast<int>(to_ms(patience)));
  if (ready == 0) return failure(Code::kTimeout, "no message came in time");
  if (ready < 0) return failed("poll");
  Message out;
  out.text.resize(kMessageBytesMax);
  iovec piece{.iov_base = out.text.data(), .iov_len = out.text.size()};
  alignas(cmsghdr) Rights rights{};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = rights.data();
  message.msg_controllen = rights.size();
  const ssize_t got = ::recvmsg(socket_.get(), &message, MSG_CMSG_CLOEXEC);
  if (got < 0) return failed("receive");
  take_descriptors(message, out.descriptors);
  if (got == 0) return failure(Code::kUnavailable, "the other side is gone");
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0)
    return failure(Code::kCorruption, "a message was cut off");
  out.text.resize(static_cast<std::size_t>(got));
  return out;
}

Result<std::unique_ptr<ChannelListener>> ChannelListener::open(const std::string& path) {
  TRY(const sockaddr_un at, address_of(path));
  TRY(Descriptor socket, packet_socket());
  ::unlink(path.c_str());
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0)
    return failed("bind " + path);
  // Nobody can connect before `listen`.
  if (::chmod(path.c_str(), 0600) != 0) return failed("chmod " + path);
  if (::listen(socket.get(), 4) != 0) return failed("listen " + path);
  return std::make_unique<ChannelListener>(Passkey{}, path, std::move(socket));
}

Result<Channel> ChannelListener::accept() {
  while (true) {
    Descriptor socket(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (socket.is_open()) return Channel(std::move(socket));
    if (errno != EINTR && errno != ECONNABORTED) return failed("accept");
  }
}

// `shutdown` wakes an accept that waits in another thread; the descriptor stays until destruction.
void ChannelListener::close() {
  if (std::exchange(path_, {}).empty()) return;
  ::shutdown(socket_.get(), SHUT_RDWR);
}

}  // namespace banyan::io
