#pragma once
// Address: where a socket listens or connects: "127.0.0.1:8080", "[::1]:8080", "app.internal:80"
// or "unix:/run/app.sock". A value. `resolve` may ask the resolver and block: never on a loop.

#include <sys/socket.h>

#include <string>

#include "base/error.h"

namespace banyan::io {

class Address {
 public:
  static Result<Address> resolve(const std::string& text);
  // The address of the peer, or of this side, of a socket.
  static Address of_peer(int fd);
  static Address of_local(int fd);

  int family() const { return storage_.ss_family; }
  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t raw_size() const { return size_; }
  // "192.0.2.1", "2001:db8::1", or "unix".
  std::string host() const;
  // 0 for a Unix socket.
  int port() const;
  // The form `resolve` takes.
  std::string text() const;

  Address() = default;

 private:
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};

}  // namespace banyan::io
