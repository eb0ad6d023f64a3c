#include "wire/s3/http_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace banyan::s3 {
namespace {

constexpr std::size_t kHeadBytesMax = 64 * 1024;
constexpr std::size_t kConnectionsMax = 512;
constexpr std::int64_t kDrainBytesMax = 1 << 20;
constexpr int kIdleSeconds = 60;
constexpr std::size_t kChunk = 256 * 1024;

std::string_view reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 409:
      return "Conflict";
    case 411:
      return "Length Required";
    case 412:
      return "Precondition Failed";
    case 416:
      return "Range Not Satisfiable";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    default:
      return status < 500 ? "Refused" : "Internal Server Error";
  }
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::string_view stripped(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// The bytes of one connection.
class Connection {
 public:
  explicit Connection(int fd) : fd_(fd) {}

  // The request head without its final empty line; kCancelled at an orderly end.
  Result<std::string> read_head() {
    while (true) {
      const auto end = buffer_.find("\r\n\r\n");
      if (end != std::string::npos) {
        std::string head = buffer_.substr(0, end);
        buffer_.erase(0, end + 4);
        return head;
      }
      if (buffer_.size() > kHeadBytesMax) return failure(Code::kInvalidArgument, "head too large");
      TRY_VOID(fill());
    }
  }
  Result<std::string> read_line() {
    while (true) {
      const auto end = buffer_.find("\r\n");
      if (end != std::string::npos) {
        std::string line = buffer_.substr(0, end);
        buffer_.erase(0, end + 2);
        return line;
      }
      if (buffer_.size() > kHeadBytesMax) return failure(Code::kInvalidArgument, "line too long");
      TRY_VOID(fill());
    }
  }
  Result<std::size_t> read(std::span<char> into) {
    if (!buffer_.empty()) {
      const std::size_t n = std::min(into.size(), buffer_.size());
      std::memcpy(into.data(), buffer_.data(), n);
      buffer_.erase(0, n);
      return n;
    }
    return receive(into);
  }
  Result<void> write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent <= 0) return failure(Code::kUnavailable, "the client went away");
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return {};
  }

 private:
  Result<void> fill() {
    std::array<char, 16 * 1024> chunk;
    TRY(const std::size_t got, receive(chunk));
    buffer_.append(chunk.data(), got);
    return {};
  }
  Result<std::size_t> receive(std::span<char> into) {
    while (true) {
      const ssize_t got = ::recv(fd_, into.data(), into.size(), 0);
      if (got > 0) return static_cast<std::size_t>(got);
      if (got < 0 && errno == EINTR) continue;
      return failure(Code::kCancelled, "the client went away");
    }
  }

  const int fd_;
  std::string buffer_;
};

class ConnectionBody final : public BodyReader {
 public:
  static Result<ConnectionBody> of(const HttpRequest& request, Connection& connection) {
    ConnectionBody body(connection);
    body.awaits_go_ = lower(request.header("expect")) == "100-continue";
    body.chunked_ = lower(request.header("transfer-encoding")) == "chunked";
    const std::string length = request.header("content-length");
    if (body.chunked_ || length.empty()) return body;
    if (length.size() > 18 || length.find_first_not_of("0123456789") != std::string::npos) {
      return failure(Code::kInvalidArgument, "malformed content-length");
    }
    body.left_ = std::stoll(length);
    return body;
  }

  Result<std::size_t> read(std::span<char> into) override {
    if (left_ == 0 && (!chunked_ || ended_)) return 0;
    TRY_VOID(say_go());
    if (chunked_ && left_ == 0) {
      TRY_VOID(next_chunk());
      if (ended_) return 0;
    }
    const auto most = std::min<std::int64_t>(left_, static_cast<std::int64_t>(into.size()));
    TRY(const std::size_t got, connection_.read(into.first(static_cast<std::size_t>(most))));
    left_ -= static_cast<std::int64_t>(got);
    if (chunked_ && left_ == 0) TRY_VOID(connection_.read_line());
    return got;
  }
  // Reads on so that the connection can carry the next request. False when that is not worth it.
  bool drain() {
    if (awaits_go_ || left_ > kDrainBytesMax) return left_ == 0 && !chunked_;
    std::array<char, 16 * 1024> waste;
    for (std::int64_t read_bytes = 0; read_bytes <= kDrainBytesMax;) {
      const auto got = read(waste);
      if (!got) return false;
      if (*got == 0) return true;
      read_bytes += static_cast<std::int64_t>(*got);
    }
    return false;
  }

 private:
  explicit ConnectionBody(Connection& connection) : connection_(connection) {}
  Result<void> say_go() {
    if (!awaits_go_) return {};
    awaits_go_ = false;
    return connection_.write("HTTP/1.1 100 Continue\r\n\r\n");
  }
  Result<void> next_chunk() {
    TRY(const std::string line, connection_.read_line());
    char* end = nullptr;
    left_ = std::strtoll(line.c_str(), &end, 16);
    if (end == line.c_str() || left_ < 0) return failure(Code::kInvalidArgument, "malformed chunk");
    if (left_ > 0) return {};
    ended_ = true;
    while (true) {
      TRY(const std::string trailer, connection_.read_line());
      if (trailer.empty()) return {};
    }
  }

  Connection& connection_;
  std::int64_t left_ = 0;
  bool chunked_ = false;
  bool ended_ = false;
  bool awaits_go_ = false;
};

Result<HttpRequest> parse_head(std::string_view head) {
  const auto line = head.substr(0, head.find("\r\n"));
  head.remove_prefix(std::min(head.size(), line.size() + 2));
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || last <= first ||
      !line.substr(last).starts_with(" HTTP/1")) {
    return failure(Code::kInvalidArgument, "malformed request line");
  }
  const auto target = line.substr(first + 1, last - first - 1);
  const auto question = target.find('?');
  HttpRequest request;
  request.method = line.substr(0, first);
  request.path = target.substr(0, question);
  if (question != std::string_view::npos) request.query = target.substr(question + 1);
  while (!head.empty()) {
    const auto header = head.substr(0, head.find("\r\n"));
    head.remove_prefix(std::min(head.size(), header.size() + 2));
    const auto colon = header.find(':');
    if (colon == std::string_view::npos) return failure(Code::kInvalidArgument, "malformed header");
    request.headers.emplace_back(lower(header.substr(0, colon)),
                                 stripped(header.substr(colon + 1)));
  }
  return request;
}

std::string head_of(const HttpResponse& response, bool keep) {
  std::string head = fmt::format("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
  bool has_length = false;
  for (const auto& [name, value] : response.headers) {
    has_length |= name == "content-length";
    head += name + ": ";
    // Metadata a client stored must not end the header.
    std::copy_if(value.begin(), value.end(), std::back_inserter(head),
                 [](char c) { return static_cast<unsigned char>(c) >= 0x20 || c == '\t'; });
    head += "\r\n";
  }
  const auto length =
      response.content ? response.content_bytes : static_cast<std::int64_t>(response.body.size());
  const bool bodyless = response.status == 204 || response.status == 304;
  if (!has_length && !bodyless) head += fmt::format("content-length: {}\r\n", length);
  head += keep ? "\r\n" : "connection: close\r\n\r\n";
  return head;
}

Result<void> write_content(Connection& connection, const HttpResponse& response) {
  std::string chunk(kChunk, '\0');
  for (std::int64_t sent = 0; sent < response.content_bytes;) {
    const auto most = std::min<std::int64_t>(response.content_bytes - sent, kChunk);
    TRY(const std::size_t got,
        response.content(sent, std::span(chunk).first(static_cast<std::size_t>(most))));
    if (got == 0) return failure(Code::kCorruption, "content ended early");
    TRY_VOID(connection.write(std::string_view(chunk).substr(0, got)));
    sent += static_cast<std::int64_t>(got);
  }
  return {};
}

Result<void> write_response(Connection& connection, const HttpRequest& request,
                            const HttpResponse& response, bool keep) {
  const bool wants_body = request.method != "HEAD" && response.status != 304;
  const std::string head = head_of(response, keep);
  if (!wants_body) return connection.write(head);
  if (!response.content) return connection.write(head + response.body);
  TRY_VOID(connection.write(head));
  return write_content(connection, response);
}

// True when the connection can carry another request.
Result<bool> serve_one(Connection& connection, const HttpServer::Handler& handler) {
  TRY(const std::string head, connection.read_head());
  const auto request = parse_head(head);
  if (!request) {
    TRY_VOID(connection.write(
        head_of({.status = 400, .headers = {}, .body = {}, .content = {}}, false)));
    return false;
  }
  TRY(auto body, ConnectionBody::of(*request, connection));
  const HttpResponse response = handler(*request, body);
  const bool keep = lower(request->header("connection")) != "close" && body.drain();
  TRY_VOID(write_response(connection, *request, response, keep));
  return keep;
}

Result<int> bind_to(const std::string& address) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos) {
    return failure(Code::kInvalidArgument, "an address is host:port, not " + address);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  std::string host = address.substr(0, colon);
  if (host.starts_with("[") && host.ends_with("]")) host = host.substr(1, host.size() - 2);
  if (getaddrinfo(host.c_str(), address.substr(colon + 1).c_str(), &hints, &found) != 0) {
    return failure(Code::kInvalidArgument, "no such address: " + address);
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found, freeaddrinfo);
  const int fd = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (fd < 0 || ::bind(fd, found->ai_addr, found->ai_addrlen) != 0 || ::listen(fd, 512) != 0) {
    const std::string why = std::strerror(errno);
    if (fd >= 0) ::close(fd);
    return failure(Code::kConflict, "listening on " + address + ": " + why);
  }
  return fd;
}

int port_of(int fd) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<sockaddr_in&>(address).sin_port);
}

void configure(int fd) {
  const int on = 1;
  const timeval idle{.tv_sec = kIdleSeconds, .tv_usec = 0};
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
  ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof idle);
}

}  // namespace

std::string HttpRequest::header(std::string_view name) const {
  const std::string* value = find_header(headers, name);
  return value == nullptr ? std::string() : *value;
}

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const std::string& address,
                                                       Handler handler) {
  TRY(const int listener, bind_to(address));
  auto server = std::make_unique<HttpServer>(Private{}, listener, std::move(handler));
  server->port_ = port_of(listener);
  server->acceptor_ = std::thread([raw = server.get()] { raw->accept_all(); });
  return server;
}

HttpServer::HttpServer(Private, int listener, Handler handler)
    : listener_(listener),
      handler_(std::move(handler)),
      connections_(std::make_shared<Guarded<Connections>>()) {}

HttpServer::~HttpServer() {
  stop();
  ::close(listener_);
}

void HttpServer::stop() {
  connections_->change([&](Connections& all) {
    all.stopping = true;
    for (const int fd : all.open) ::shutdown(fd, SHUT_RD);
  });
  ::shutdown(listener_, SHUT_RDWR);
  if (acceptor_.joinable()) acceptor_.join();
  const auto gone = [](const Connections& all) { return all.open.empty(); };
  if (connections_->wait_for(5s, gone)) return;
  connections_->with([](Connections& all) {
    for (const int fd : all.open) ::shutdown(fd, SHUT_RDWR);
  });
  // Their threads use this object; they end at the next read or write.
  while (!connections_->wait_for(1s, gone)) {
  }
}

void HttpServer::accept_all() {
  while (true) {
    connections_->wait_for(1h, [](const Connections& all) {
      return all.stopping || all.open.size() < kConnectionsMax;
    });
    const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0 && connections_->with([](Connections& all) { return all.stopping; })) return;
    if (fd < 0) {
      std::this_thread::sleep_for(10ms);  // out of descriptors: let some connections end
    } else if (admit(fd)) {
      std::thread([this, fd] { serve(fd); }).detach();
    } else {
      ::close(fd);
    }
  }
}

bool HttpServer::admit(int fd) {
  configure(fd);
  return connections_->with([&](Connections& all) {
    if (!all.stopping) all.open.push_back(fd);
    return !all.stopping;
  });
}

void HttpServer::serve(int fd) {
  Connection connection(fd);
  while (true) {
    const auto keep = serve_one(connection, handler_);
    if (!keep || !*keep) break;
    if (connections_->with([](Connections& all) { return all.stopping; })) break;
  }
  // Closed under the lock, so that stop() never shuts down a number that was reused.
  const auto connections = connections_;
  connections->change([&](Connections& all) {
    std::erase(all.open, fd);
    ::close(fd);
  });
}

}  // namespace banyan::s3
