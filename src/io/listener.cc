#include "io/listener.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace banyan::io {
namespace {

constexpr int kBacklog = 4096;

Error failed(const char* call, const Address& at) {
  const int error = errno;
  Error made(error == EADDRINUSE ? Code::kConflict : Code::kUnavailable,
             fmt::format("{} {}: {}", call, at.text(), std::strerror(error)));
  if (error != EADDRINUSE) return made;
  return std::move(made).with_remedy(
      "another program listens there: stop it, or choose another address");
}

}  // namespace

Result<std::unique_ptr<Listener>> Listener::open(Loop& loop, const Address& at) {
  Descriptor fd(socket(at.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return std::unexpected(failed("socket", at));
  const int one = 1;
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
  if (bind(fd.get(), at.raw(), at.raw_size()) != 0) return std::unexpected(failed("bind", at));
  if (::listen(fd.get(), kBacklog) != 0) return std::unexpected(failed("listen", at));
  return adopt(loop, std::move(fd));
}

Result<std::unique_ptr<Listener>> Listener::adopt(Loop& loop, Descriptor socket) {
  auto listener = std::make_unique<Listener>(Passkey{}, loop, std::move(socket));
  TRY_VOID(loop.watch(listener->fd_, *listener));
  return listener;
}

bool Listener::Accept::attempt() {
  while (true) {
    if (listener.fd_ < 0) {
      fd = kClosed;
      return true;
    }
    fd = accept4(listener.fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) return true;
    if (errno == EAGAIN) return false;
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      fd = kExhausted;
      return true;
    }
    // The connection ended before it was accepted: take the next one.
  }
}

int Listener::accept_now() {
  return fd_ < 0 ? kClosed : accept4(fd_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

void Listener::on_ready(std::uint32_t) {
  if (waiter_ == nullptr || !waiter_->attempt()) return;
  std::exchange(waiter_, nullptr)->handle.resume();
}

void Listener::close() {
  if (fd_ < 0) return;
  // Explicitly: while another process has the socket, closing does not unregister it.
  loop_.unwatch(fd_, *this);
  ::close(fd_);
  fd_ = -1;
  if (waiter_ == nullptr) return;
  waiter_->fd = kClosed;
  loop_.schedule(std::exchange(waiter_, nullptr)->handle);
}

}  // namespace banyan::io
