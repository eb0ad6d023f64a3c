#include "wire/rpc/server.h"

#include <httplib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <ctime>
#include <thread>

#include "base/clock.h"
#include "base/guarded.h"
#include "base/log.h"
#include "wire/rpc/error_json.h"

namespace banyan::rpc {

using nlohmann::json;

namespace {

constexpr int kHandlerThreads = 16;

void answer(httplib::Response& response, const Result<json>& result) {
  response.status = result ? 200 : http_status(result.error().code());
  const json body = result ? *result : error_to_json(result.error());
  response.set_content(body.dump(), "application/json");
}

// The one place where exceptions of libraries inside a handler (JSON access) become errors.
Result<json> run_handler(const Handler& handler, const std::string& body) {
  try {
    const json in = body.empty() ? json::object() : json::parse(body);
    return handler(in);
  } catch (const std::exception& e) {
    return failure(Code::kInvalidArgument, std::string("malformed call: ") + e.what());
  }
}

void call(const std::string& verb, const Handler& handler, const httplib::Request& request,
          httplib::Response& response) {
  auto result = with_context(run_handler(handler, request.body), verb);
  if (!result)
    log_warn("call refused", {{"verb", verb},
                              {"code", code_name(result.error().code())},
                              {"error", result.error().message()}});
  answer(response, result);
}

}  // namespace

struct Server::State {
  httplib::Server http;
  Guarded<std::string> socket_path;
  std::jthread thread;
};

Server::Server() : state_(std::make_unique<State>()) {
  // The library takes ownership of the pool.
  state_->http.new_task_queue = [] {
    return std::make_unique<httplib::ThreadPool>(kHandlerThreads).release();
  };
  state_->http.set_keep_alive_max_count(1);
  state_->http.set_read_timeout(10, 0);
  on("ping", [](const json&) -> Result<json> { return json::object(); });
}

Server::~Server() {
  stop();
}

void Server::on(std::string verb, Handler handler) {
  if (verb == "metrics") {
    state_->http.Get("/metrics", [handler](const httplib::Request&, httplib::Response& response) {
      const auto result = run_handler(handler, "");
      response.set_content(result ? result->value("text", "") : result.error().message(),
                           "text/plain");
    });
  }
  const std::string path = "/v1/" + verb;
  state_->http.Post(path, [verb = std::move(verb), handler = std::move(handler)](
                              const httplib::Request& request, httplib::Response& response) {
    call(verb, handler, request, response);
  });
}

Result<void> Server::listen(const std::string& socket_path) {
  const std::string fresh = socket_path + ".new";
  ::unlink(fresh.c_str());
  state_->http.set_address_family(AF_UNIX);
  const mode_t before = ::umask(0077);
  const bool bound = state_->http.bind_to_port(fresh, 80);
  ::umask(before);
  if (!bound) return failure(Code::kUnavailable, "cannot listen on Unix socket " + socket_path);
  state_->thread = std::jthread([this] { state_->http.listen_after_bind(); });
  while (!state_->http.is_running()) std::this_thread::sleep_for(1ms);
  if (::rename(fresh.c_str(), socket_path.c_str()) != 0)
    return failure(Code::kUnavailable, "cannot put a Unix socket at " + socket_path);
  state_->socket_path.change([&](std::string& path) { path = socket_path; });
  return {};
}

Result<void> Server::move_to(const std::string& socket_path) {
  return state_->socket_path.with([&](std::string& path) -> Result<void> {
    ::unlink(socket_path.c_str());
    if (::link(path.c_str(), socket_path.c_str()) != 0)
      return failure(Code::kUnavailable, "cannot put a Unix socket at " + socket_path);
    path = socket_path;
    return {};
  });
}

void Server::stop() {
  if (!state_->thread.joinable()) return;
  state_->http.stop();
  state_->thread.join();
  state_->socket_path.with([](const std::string& path) { ::unlink(path.c_str()); });
}

void block_stop_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

bool stop_signal_within(Duration patience) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  const long ms = to_ms(patience);
  const timespec wait{.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1'000'000};
  return sigtimedwait(&set, nullptr, &wait) > 0;
}

int wait_for_stop_signal() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  int signal = 0;
  sigwait(&set, &signal);
  return signal;
}

}  // namespace banyan::rpc
