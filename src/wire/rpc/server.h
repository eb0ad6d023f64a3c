#pragma once
// rpc::Server: JSON verbs over HTTP on a Unix socket; how a role of Banyan is commanded.
//
//   rpc::Server server;
//   server.on("hold.close", [&](const nlohmann::json& in) -> Result<nlohmann::json> { ... });
//   TRY_VOID(server.listen(socket_path));
//
// Transport: POST /v1/<verb>, body and answer are JSON; an Error is answered with a status other
// than 200 and {code, message, remedy}. GET /metrics answers the text of the verb "metrics".
// Handlers run on the server's own threads, several at once; they must be idempotent, because a
// client that lost an answer asks again. The socket file is only accessible to its owner.

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/clock.h"
#include "base/error.h"

namespace banyan::rpc {

using Handler = std::function<Result<nlohmann::json>(const nlohmann::json&)>;

class Server {
 public:
  Server();
  ~Server();  // stops
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Before listen() only.
  void on(std::string verb, Handler handler);
  // Takes the place of a socket file that is there, without a moment in which there is none;
  // returns once connections are accepted.
  Result<void> listen(const std::string& socket_path);
  // Also answers there from now on, and no longer minds the former path: a successor takes it.
  Result<void> move_to(const std::string& socket_path);
  // Refuses new calls and returns when running ones have ended. Idempotent.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Blocks SIGTERM and SIGINT in this thread and all it starts from now on, and ignores SIGPIPE.
// Call first in a role's main thread, before any thread is started.
void block_stop_signals();
// Returns when SIGTERM or SIGINT arrives; the signal's number.
int wait_for_stop_signal();
// Whether one arrives in that time.
bool stop_signal_within(Duration patience);

}  // namespace banyan::rpc
