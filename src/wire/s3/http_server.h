#pragma once
// HttpServer: a small blocking HTTP/1.1 server that hands headers over exactly as they were sent,
// which a signature needs, and bodies as a stream. One thread a connection, keep-alive, bounded in
// connections, head size and idle time. Only for the S3 endpoint.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>

#include "base/error.h"
#include "base/guarded.h"
#include "wire/s3/signer.h"

namespace banyan::s3 {

struct HttpRequest {
  std::string method;
  std::string path;   // as sent, percent-encoded
  std::string query;  // as sent, without '?'
  HeaderList headers;

  std::string header(std::string_view name) const;
};

// The body of one request, read at most once. Asks a waiting client to go on (100-continue) at the
// first read.
class BodyReader {
 public:
  virtual ~BodyReader() = default;
  // 0 only at the end of the body.
  virtual Result<std::size_t> read(std::span<char> into) = 0;
};

struct HttpResponse {
  int status = 200;
  HeaderList headers;
  std::string body;
  // Instead of `body`: `content_bytes` bytes that `content` yields from offset 0 on.
  std::function<Result<std::size_t>(std::int64_t, std::span<char>)> content;
  std::int64_t content_bytes = 0;
};

class HttpServer {
 public:
  // Called on many threads at once.
  using Handler = std::function<HttpResponse(const HttpRequest&, BodyReader&)>;

  // "127.0.0.1:9000"; port 0 picks a free one.
  static Result<std::unique_ptr<HttpServer>> listen(const std::string& address, Handler handler);
  ~HttpServer();
  int port() const { return port_; }
  // Refuses new connections, lets running requests end (or cuts them after 5 s) and returns.
  void stop();

 private:
  struct Private {};
  struct Connections {
    std::vector<int> open;
    bool stopping = false;
  };

 public:
  HttpServer(Private, int listener, Handler handler);

 private:
  void accept_all();
  void serve(int fd);
  bool admit(int fd);

  const int listener_;
  int port_ = 0;
  const Handler handler_;
  // Shared with the connections' threads: the last one may still be leaving when this is gone.
  const std::shared_ptr<Guarded<Connections>> connections_;
  std::thread acceptor_;
};

}  // namespace banyan::s3
