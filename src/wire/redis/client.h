#pragma once
// redis::Client: one connection to a Redis server, over hiredis. Blocking; one thread at a time.
//
// Arguments and replies are bytes: zeros and newlines are fine. Every call has the client's
// timeout. A dead connection is noticed before a call is sent and replaced, once; what fails after
// the sending is kUnavailable and not sent again, since the server may have run it.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

struct redisContext;

namespace banyan::redis {

// redis://[user][:password]@host[:port][/db]
struct Address {
  std::string host = "127.0.0.1";
  int port = 6379;
  std::string user;
  std::string password;
  int database = 0;
};
Result<Address> parse_url(std::string_view url);

struct Reply {
  enum class Kind : std::uint8_t { kNil, kText, kStatus, kInteger, kArray, kError };
  Kind kind = Kind::kNil;
  std::int64_t integer = 0;
  std::string text;  // the bytes of kText, kStatus and kError
  std::vector<Reply> items;

  bool is_nil() const { return kind == Kind::kNil; }
};

// A command and its arguments: {"SET", key, value, "PX", "1500"}.
using Command = std::vector<std::string>;

class Client {
 public:
  // Connects, authenticates and selects the database.
  static Result<Client> connect(std::string_view url, Duration timeout = 5s);

  // An error reply is an Error: kPermission, kUnavailable (loading, read-only) or kInternal.
  Result<Reply> command(const Command& command);
  // Sends all, then reads all; a reply of kind kError is left in its place. Sent in bounded
  // batches.
  Result<std::vector<Reply>> pipeline(std::span<const Command> commands);

 private:
  struct Deleter {
    void operator()(redisContext* context) const;
  };
  Client(Address address, Duration timeout) : address_(std::move(address)), timeout_(timeout) {}
  Result<void> reconnect();
  Result<void> authenticate();
  Result<void> ensure_alive();
  void append(const Command& command);
  Result<Reply> read_reply();
  std::unexpected<Error> lost();

  Address address_;
  Duration timeout_;
  std::unique_ptr<redisContext, Deleter> context_;  // null after a failure
};

}  // namespace banyan::redis
