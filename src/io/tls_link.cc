#include "io/tls_link.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/check.h"

namespace banyan::io {
namespace {

constexpr std::size_t kRecord = 16 * 1024;         // the largest that TLS knows
constexpr std::size_t kSealedAtOnce = 128 * 1024;  // before the kernel is asked to take it

}  // namespace

// What OpenSSL calls instead of the socket.
struct TlsLink::Callbacks {
  static TlsLink& of(BIO* bio) { return *static_cast<TlsLink*>(BIO_get_data(bio)); }

  static int on_write(BIO* bio, const char* bytes, int size) {
    of(bio).gather({bytes, static_cast<std::size_t>(size)});
    return size;
  }
  static int on_read(BIO* bio, char* into, int size) {
    BIO_clear_retry_flags(bio);
    const ssize_t got = ::recv(of(bio).fd_, into, static_cast<std::size_t>(size), 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
    if (got == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return static_cast<int>(got);
  }
  static long on_control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
  }

  static BIO_METHOD* make() {
    BIO_METHOD* const method =
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "gathering socket");
    if (method == nullptr) return nullptr;
    BIO_meth_set_write(method, on_write);
    BIO_meth_set_read(method, on_read);
    BIO_meth_set_ctrl(method, on_control);
    return method;
  }
  static const BIO_METHOD* method() {
    static const BIO_METHOD* const made = make();  // for as long as the process lives
    return made;
  }
};

std::unique_ptr<TlsLink> TlsLink::create(TlsPeer peer, int fd) {
  if (peer.ssl == nullptr) return nullptr;
  auto link = std::make_unique<TlsLink>(Passkey{}, std::move(peer), fd);
  return link->attach() ? std::move(link) : nullptr;
}

TlsLink::TlsLink(Passkey, TlsPeer peer, int fd) : fd_(fd), peer_(std::move(peer)) {}

bool TlsLink::attach() {
  BIO* const bio = Callbacks::method() != nullptr ? BIO_new(Callbacks::method()) : nullptr;
  if (bio == nullptr) return false;
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl(), bio, bio);
  return true;
}

void TlsLink::gather(std::string_view bytes) {
  (buffer_ != nullptr ? *buffer_ : unsent_).append(bytes);
}

TlsLink::Flushed TlsLink::send(std::string_view& left) {
  while (!left.empty()) {
    const ssize_t sent = ::send(fd_, left.data(), left.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN ? Flushed::kBlocked : Flushed::kBroken;
    left.remove_prefix(static_cast<std::size_t>(sent));
  }
  return Flushed::kAll;
}

TlsLink::Flushed TlsLink::flush() {
  std::string_view left = std::string_view(unsent_).substr(unsent_at_);
  const Flushed flushed = send(left);
  unsent_at_ = unsent_.size() - left.size();
  if (!left.empty() || unsent_.empty()) return flushed;
  unsent_.clear();
  unsent_.shrink_to_fit();  // an idle connection keeps no buffer
  unsent_at_ = 0;
  return flushed;
}

TlsLink::Written TlsLink::write(std::string_view first, std::string_view second,
                                std::string& buffer) {
  CHECK(unsent_.empty() && buffer.empty());
  buffer_ = &buffer;
  const std::size_t bytes = seal(first, second);
  buffer_ = nullptr;
  std::string_view left = buffer;
  const Flushed flushed = bytes > 0 ? send(left) : Flushed::kBroken;
  const bool none_went = left.size() == buffer.size();
  if (flushed == Flushed::kBlocked) unsent_ = left;
  buffer.clear();
  return {.bytes = flushed == Flushed::kBroken && none_went ? 0 : bytes, .flushed = flushed};
}

// How much OpenSSL took; 0: it failed.
std::size_t TlsLink::seal(std::string_view first, std::string_view second) {
  std::array<char, kRecord> joined;  // not initialised: only what is filled is read
  std::size_t done = 0;
  while (done < kSealedAtOnce && !(first.empty() && second.empty())) {
    std::string_view next = (first.empty() ? second : first).substr(0, kSealedAtOnce);
    if (!first.empty() && first.size() < kRecord && !second.empty()) {
      const std::size_t more = std::min(kRecord - first.size(), second.size());
      std::memcpy(joined.data(), first.data(), first.size());
      std::memcpy(joined.data() + first.size(), second.data(), more);
      next = {joined.data(), first.size() + more};
    }
    ERR_clear_error();
    if (SSL_write(ssl(), next.data(), static_cast<int>(next.size())) <= 0) return 0;
    done += next.size();
    const std::size_t from_first = std::min(next.size(), first.size());
    first.remove_prefix(from_first);
    second.remove_prefix(next.size() - from_first);
  }
  return done;
}

}  // namespace banyan::io
