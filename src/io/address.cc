#include "io/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstring>

namespace banyan::io {
namespace {

struct HostPort {
  std::string host;
  std::string port;
};

Result<HostPort> split(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || colon + 1 == text.size())
    return failure(Code::kInvalidArgument, fmt::format("address '{}' has no port", text));
  std::string host = text.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  return HostPort{std::move(host), text.substr(colon + 1)};
}

}  // namespace

Result<Address> Address::resolve(const std::string& text) {
  Address address;
  if (text.starts_with("unix:")) {
    auto* const un = reinterpret_cast<sockaddr_un*>(&address.storage_);
    const std::string path = text.substr(5);
    if (path.empty() || path.size() >= sizeof un->sun_path)
      return failure(Code::kInvalidArgument, fmt::format("socket path '{}' is too long", path));
    un->sun_family = AF_UNIX;
    std::memcpy(un->sun_path, path.c_str(), path.size() + 1);
    address.size_ = sizeof(sockaddr_un);
    return address;
  }
  TRY(const HostPort parts, split(text));
  addrinfo hints{};
  hints.ai_flags = AI_NUMERICSERV | (parts.host.empty() ? AI_PASSIVE : 0);
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const char* const host = parts.host.empty() ? nullptr : parts.host.c_str();
  if (const int error = getaddrinfo(host, parts.port.c_str(), &hints, &found); error != 0)
    return failure(Code::kInvalidArgument,
                   fmt::format("address '{}': {}", text, gai_strerror(error)));
  std::memcpy(&address.storage_, found->ai_addr, found->ai_addrlen);
  address.size_ = found->ai_addrlen;
  freeaddrinfo(found);
  return address;
}

Address Address::of_peer(int fd) {
  Address address;
  address.size_ = sizeof address.storage_;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&address.storage_), &address.size_) != 0)
    address = Address();
  return address;
}

Address Address::of_local(int fd) {
  Address address;
  address.size_ = sizeof address.storage_;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage_), &address.size_) != 0)
    address = Address();
  return address;
}

std::string Address::host() const {
  char text[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET)
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(&storage_)->sin_addr, text,
              sizeof text);
  if (family() == AF_INET6)
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_addr, text,
              sizeof text);
  return family() == AF_UNIX ? "unix" : text;
}

int Address::port() const {
  if (family() == AF_INET) return ntohs(reinterpret_cast<const sockaddr_in*>(&storage_)->sin_port);
  if (family() == AF_INET6)
    return ntohs(reinterpret_cast<const sockaddr_in6*>(&storage_)->sin6_port);
  return 0;
}

std::string Address::text() const {
  if (family() == AF_UNIX)
    return fmt::format("unix:{}", reinterpret_cast<const sockaddr_un*>(&storage_)->sun_path);
  if (family() == AF_INET6) return fmt::format("[{}]:{}", host(), port());
  return fmt::format("{}:{}", host(), port());
}

}  // namespace banyan::io
