#include "io/socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace banyan::io {

Result<void> Socket::adopt(int fd) {
  CHECK(fd_ < 0);
  TRY_VOID(loop_.watch(fd, *this));
  fd_ = fd;
  const int one = 1;
  // Fails only on sockets that know no delay, such as Unix ones.
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return {};
}

Task<Result<void>> Socket::connect(Address to, Mono deadline) {
  const int fd = socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0)
    co_return failure(Code::kUnavailable, fmt::format("socket: {}", std::strerror(errno)));
  const bool at_once = ::connect(fd, to.raw(), to.raw_size()) == 0;
  if (!at_once && errno != EINPROGRESS) {
    const int error = errno;
    ::close(fd);
    co_return failure(Code::kUnavailable,
                      fmt::format("connect {}: {}", to.text(), std::strerror(error)), Retry::kSafe);
  }
  if (Result<void> adopted = adopt(fd); !adopted) {
    ::close(fd);
    co_return adopted;
  }
  if (at_once) co_return Result<void>{};
  const IoResult done = co_await Connected(*this, deadline);
  if (done.ok()) co_return Result<void>{};
  const bool late = done.status == IoStatus::kTimeout;
  co_return failure(late ? Code::kTimeout : Code::kUnavailable,
                    fmt::format("connect {}: {}", to.text(),
                                late ? "no answer in time" : std::strerror((int)done.bytes)),
                    Retry::kSafe);
}

bool Socket::is_quiet() {
  if (is_broken() || peer_ended_) return false;
  if (tls_) return !has_tls_data() && !peer_ended_;
  char byte = 0;
  return ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void Socket::set_receive_low_water(std::size_t bytes) {
  const int value = static_cast<int>(bytes);
  if (std::exchange(low_water_, value) == value) return;
  // Unix sockets may refuse: then every arrival wakes, as always.
  setsockopt(fd_, SOL_SOCKET, SO_RCVLOWAT, &value, sizeof value);
}

void Socket::shutdown_send() {
  if (tls_ && !broken_) end_tls();
  if (fd_ >= 0) ::shutdown(fd_, SHUT_WR);
}

std::coroutine_handle<> Socket::take(Waiter*& waiter) {
  Waiter* const taken = std::exchange(waiter, nullptr);
  return taken->handle;
}

void Socket::end_waiting(Waiter*& waiter, IoStatus status) {
  if (waiter == nullptr) return;
  waiter->result = {status, 0};
  loop_.schedule(take(waiter));
}

void Socket::cancel() {
  cancelled_ = true;
  end_waiting(receiver_, IoStatus::kCancelled);
  end_waiting(sender_, IoStatus::kCancelled);
}

void Socket::cancel_recv() {
  end_waiting(receiver_, IoStatus::kCancelled);
}

void Socket::close() {
  if (fd_ < 0) return;
  CHECK(receiver_ == nullptr && sender_ == nullptr);
  loop_.forget(*this);
  if (tls_ && !broken_) end_tls();
  tls_.reset();
  ::close(fd_);
  fd_ = -1;
  readable_ = false;
}

void Socket::on_ready(std::uint32_t events) {
  if ((events & EPOLLRDHUP) != 0) peer_ended_ = true;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) broken_ = peer_ended_ = true;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0) readable_ = true;
  if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) writable_seen_ = true;
  if (tls_ && !broken_ && (events & EPOLLOUT) != 0) (void)flush_tls();  // a failure is remembered
  if (sender_ != nullptr && writable_seen_ && sender_->attempt()) loop_.schedule(take(sender_));
  // A handshake, and a record that answers another one, may wait for either direction.
  if (tls_) readable_ = true;
  if (receiver_ != nullptr && readable_) {
    // What it received is in the thread's scratch buffer: nothing may run before it.
    if (receiver_->attempt()) take(receiver_).resume();
    return;
  }
  if (tls_ && !broken_ && !has_tls_data() && !peer_ended_) return;
  // Room to send is no news.
  if ((events & ~EPOLLOUT) != 0 && idle_observer_ != nullptr)
    idle_observer_->on_idle_activity(*this);
}

void Socket::expire_recv() {
  if (receiver_ == nullptr) return;
  receiver_->result = {IoStatus::kTimeout, 0};
  take(receiver_).resume();
}

void Socket::expire_send() {
  if (sender_ == nullptr) return;
  sender_->result = {IoStatus::kTimeout, 0};
  take(sender_).resume();
}

bool Socket::Recv::attempt() {
  if (socket.cancelled_ || socket.fd_ < 0) {
    result = {IoStatus::kCancelled, 0};
    return true;
  }
  if (!socket.readable_) return false;
  if (socket.tls_) return socket.recv_tls(into_, result);
  const ssize_t got = ::recv(socket.fd_, into_.data(), into_.size(), 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    socket.readable_ = false;
    return false;
  }
  if (got < 0) {
    socket.broken_ = true;
    result = {IoStatus::kFailed, 0};
    return true;
  }
  // A short read has emptied the socket: the next byte makes a new edge. After the peer's end there
  // is no further edge.
  if (static_cast<std::size_t>(got) < into_.size() && !socket.peer_ended_) socket.readable_ = false;
  if (got == 0) socket.peer_ended_ = true;
  result = {got == 0 ? IoStatus::kEnd : IoStatus::kOk, static_cast<std::size_t>(got)};
  return true;
}

void Socket::receive_later(Waiter& waiter, std::coroutine_handle<> handle) {
  CHECK(receiver_ == nullptr);
  waiter.handle = handle;
  receiver_ = &waiter;
  recv_timer_.arm(waiter.deadline);
}

void Socket::send_later(Waiter& waiter, std::coroutine_handle<> handle) {
  CHECK(sender_ == nullptr);
  waiter.handle = handle;
  sender_ = &waiter;
  send_timer_.arm(waiter.deadline);
}

void Socket::Recv::await_suspend(std::coroutine_handle<> waiting) {
  socket.receive_later(*this, waiting);
}

bool Socket::Activity::attempt() {
  if (socket.cancelled_ || socket.fd_ < 0) {
    result = {IoStatus::kCancelled, 0};
    return true;
  }
  if (socket.peer_ended_) {
    result = {IoStatus::kEnd, 0};
    return true;
  }
  return socket.readable_;
}

void Socket::Activity::await_suspend(std::coroutine_handle<> waiting) {
  socket.receive_later(*this, waiting);
}

void Socket::Send::consume(std::size_t bytes) {
  result.bytes += bytes;
  const std::size_t from_first = std::min(bytes, first_.size());
  first_.remove_prefix(from_first);
  second_.remove_prefix(bytes - from_first);
}

bool Socket::Send::attempt() {
  if (socket.tls_) return attempt_tls();
  while (!first_.empty() || !second_.empty()) {
    if (socket.cancelled_ || socket.fd_ < 0) {
      result.status = IoStatus::kCancelled;
      return true;
    }
    std::array<iovec, 2> pieces = {{{const_cast<char*>(first_.data()), first_.size()},
                                    {const_cast<char*>(second_.data()), second_.size()}}};
    msghdr message{};
    message.msg_iov = pieces.data();
    message.msg_iovlen = pieces.size();
    const ssize_t sent = sendmsg(socket.fd_, &message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) return false;
    if (sent < 0 && errno != EINTR) {
      socket.broken_ = true;
      result.status = IoStatus::kFailed;
      return true;
    }
    if (sent > 0) consume(static_cast<std::size_t>(sent));
  }
  return true;
}

void Socket::Send::await_suspend(std::coroutine_handle<> waiting) {
  CHECK(socket.sender_ == nullptr);
  unsent_.reserve(first_.size() + second_.size());
  unsent_.append(first_).append(second_);
  first_ = unsent_;
  second_ = {};
  handle = waiting;
  socket.sender_ = this;
  socket.send_timer_.arm(deadline);
}

bool Socket::MoveIn::attempt() {
  if (socket.cancelled_ || socket.fd_ < 0) {
    result = {IoStatus::kCancelled, 0};
    return true;
  }
  if (!socket.readable_) return false;
  CHECK(pipe_.is_empty());
  const ssize_t got = ::splice(socket.fd_, nullptr, pipe_.in(), nullptr, amount_.most,
                               SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    socket.readable_ = socket.peer_ended_;
    return false;
  }
  if (got < 0) socket.broken_ = true;
  if (got == 0) socket.peer_ended_ = true;
  const auto status = got < 0 ? IoStatus::kFailed : (got == 0 ? IoStatus::kEnd : IoStatus::kOk);
  pipe_.held_ = static_cast<std::size_t>(std::max<ssize_t>(got, 0));
  result = {status, pipe_.held_};
  return true;
}

void Socket::MoveIn::await_suspend(std::coroutine_handle<> waiting) {
  socket.receive_later(*this, waiting);
  socket.set_receive_low_water(amount_.worth_waking);
}

bool Socket::MoveOut::attempt() {
  while (pipe_.held_ > 0) {
    if (socket.cancelled_ || socket.fd_ < 0) {
      result.status = IoStatus::kCancelled;
      return true;
    }
    const ssize_t sent = ::splice(pipe_.out(), nullptr, socket.fd_, nullptr, pipe_.held_,
                                  SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (sent < 0 && errno == EAGAIN) return false;
    if (sent == 0 || (sent < 0 && errno != EINTR)) {
      socket.broken_ = true;
      result.status = IoStatus::kFailed;
      return true;
    }
    if (sent > 0) {
      pipe_.held_ -= static_cast<std::size_t>(sent);
      result.bytes += static_cast<std::size_t>(sent);
    }
  }
  return true;
}

bool Socket::Connected::attempt() {
  if (socket.cancelled_) {
    result = {IoStatus::kCancelled, ECANCELED};
    return true;
  }
  if (!socket.writable_seen_) return false;
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(socket.fd_, SOL_SOCKET, SO_ERROR, &error, &size);
  result = {error == 0 ? IoStatus::kOk : IoStatus::kFailed, static_cast<std::size_t>(error)};
  return true;
}

void Socket::Connected::await_suspend(std::coroutine_handle<> waiting) {
  socket.send_later(*this, waiting);
}

}  // namespace banyan::io
