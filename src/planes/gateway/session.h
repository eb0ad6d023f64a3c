#pragma once
// Session: one client connection. Reads request heads and has each answered by an Exchange, until
// either side wants to end.

#include <cstdint>
#include <string>

#include "io/socket.h"
#include "io/task.h"
#include "planes/gateway/worker.h"

namespace banyan::gateway {

class Exchange;

// What becomes of the client's connection after a request.
enum class Fate : std::uint8_t {
  kPersist,
  kClose,
  kLinger,  // closes, but first lets the client read the answer although it still sends
};

class Session {
 public:
  // Owns itself until the connection ends.
  static io::Detached serve(Worker& worker, int fd);

  Session(Worker& worker, int fd);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void close_if_idle();
  void cancel();

 private:
  friend class Exchange;
  enum class HeadEnd : std::uint8_t { kComplete, kRefused, kLate, kGone };

  io::Task<void> run();
  // Leaves the parsed head in worker.head(), whose views point into inbox_.
  io::Task<HeadEnd> receive_head();
  HeadEnd parse_head();
  io::Task<Fate> answer();
  io::Task<Fate> refuse(int status, const char* reason);
  io::Task<void> linger();

  Worker& worker_;
  io::Socket client_;
  std::string client_ip_;
  std::string inbox_;          // received and not yet used
  std::size_t inspected_ = 0;  // how much of inbox_ has been tried as a head
  std::size_t head_size_ = 0;
  int refused_status_ = 0;
  const char* refused_reason_ = "";
  bool idle_ = false;  // between two requests
  Exchange* exchange_ = nullptr;
};

}  // namespace banyan::gateway
