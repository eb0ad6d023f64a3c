#include "wire/redis/client.h"

#include <fmt/format.h>
#include <hiredis/hiredis.h>
#include <poll.h>

#include <algorithm>
#include <charconv>

#include "base/percent.h"

namespace banyan::redis {
namespace {

constexpr std::size_t kBatchMax = 1000;  // commands sent before their replies are read

timeval to_timeval(Duration duration) {
  const long us = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  return {.tv_sec = us / 1'000'000, .tv_usec = us % 1'000'000};
}

// The text is not named: of a mistyped URL it may be the password.
Result<int> number(std::string_view text, int greatest) {
  int value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end != text.data() + text.size() || value < 0 || value > greatest)
    return failure(
        Code::kInvalidArgument,
        fmt::format("port and database of a redis:// URL are numbers up to {}", greatest));
  return value;
}

void take_credentials(std::string_view text, Address& address) {
  const auto colon = text.find(':');
  address.user = percent_decoded(text.substr(0, colon));
  if (colon != std::string_view::npos) address.password = percent_decoded(text.substr(colon + 1));
}

Reply to_reply(const redisReply& raw) {
  Reply reply;
  reply.integer = raw.integer;
  if (raw.str != nullptr) reply.text.assign(raw.str, static_cast<std::size_t>(raw.len));
  switch (raw.type) {
    case REDIS_REPLY_STRING:
      reply.kind = Reply::Kind::kText;
      break;
    case REDIS_REPLY_STATUS:
      reply.kind = Reply::Kind::kStatus;
      break;
    case REDIS_REPLY_INTEGER:
      reply.kind = Reply::Kind::kInteger;
      break;
    case REDIS_REPLY_ERROR:
      reply.kind = Reply::Kind::kError;
      break;
    case REDIS_REPLY_ARRAY:
      reply.kind = Reply::Kind::kArray;
      break;
    default:
      reply.kind = Reply::Kind::kNil;
      break;
  }
  if (raw.type == REDIS_REPLY_ARRAY)
    for (std::size_t i = 0; i < raw.elements; ++i) reply.items.push_back(to_reply(*raw.element[i]));
  return reply;
}

Error server_error(const std::string& text) {
  if (text.starts_with("NOAUTH") || text.starts_with("WRONGPASS") || text.starts_with("NOPERM"))
    return Error(Code::kPermission, "Redis: " + text)
        .with_remedy("Give the right password in the redis:// URL.");
  if (text.starts_with("LOADING") || text.starts_with("READONLY") || text.starts_with("MASTERDOWN"))
    return Error(Code::kUnavailable, "Redis: " + text, Retry::kSafe);
  return Error(Code::kInternal, "Redis: " + text);
}

}  // namespace

Result<Address> parse_url(std::string_view url) {
  constexpr std::string_view kScheme = "redis://";
  if (!url.starts_with(kScheme))
    return failure(Code::kInvalidArgument, "a Redis address is redis://[:password@]host:port/db");
  url.remove_prefix(kScheme.size());
  Address address;
  if (const auto at = url.rfind('@'); at != std::string_view::npos) {
    take_credentials(url.substr(0, at), address);
    url.remove_prefix(at + 1);
  }
  if (const auto slash = url.find('/'); slash != std::string_view::npos) {
    if (slash + 1 < url.size()) {
      TRY(address.database, number(url.substr(slash + 1), 1'000'000));
    }
    url = url.substr(0, slash);
  }
  if (const auto colon = url.rfind(':'); colon != std::string_view::npos) {
    TRY(address.port, number(url.substr(colon + 1), 65535));
    url = url.substr(0, colon);
  }
  if (!url.empty()) address.host = url;
  return address;
}

void Client::Deleter::operator()(redisContext* context) const {
  redisFree(context);
}

Result<Client> Client::connect(std::string_view url, Duration timeout) {
  TRY(Address address, parse_url(url));
  Client client(std::move(address), timeout);
  TRY_VOID(client.reconnect());
  return client;
}

Result<void> Client::reconnect() {
  const timeval limit = to_timeval(timeout_);
  context_.reset(redisConnectWithTimeout(address_.host.c_str(), address_.port, limit));
  if (context_ == nullptr || context_->err != 0) return lost();
  if (redisSetTimeout(context_.get(), limit) != REDIS_OK) return lost();
  return authenticate();
}

Result<void> Client::authenticate() {
  std::vector<Command> commands;
  if (!address_.password.empty() && !address_.user.empty())
    commands.push_back({"AUTH", address_.user, address_.password});
  else if (!address_.password.empty())
    commands.push_back({"AUTH", address_.password});
  if (address_.database != 0) commands.push_back({"SELECT", std::to_string(address_.database)});
  commands.push_back({"PING"});
  for (const Command& command : commands) {
    append(command);
    TRY(const Reply reply, read_reply());
    if (reply.kind != Reply::Kind::kError) continue;
    context_.reset();
    return std::unexpected(server_error(reply.text));
  }
  return {};
}

// Between calls nothing is expected from the server: what is readable is the end of the connection.
Result<void> Client::ensure_alive() {
  if (context_ != nullptr) {
    pollfd waiting = {.fd = context_->fd, .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, 0) == 0) return {};
  }
  return reconnect();
}

void Client::append(const Command& command) {
  std::vector<const char*> arguments;
  std::vector<std::size_t> sizes;
  for (const std::string& argument : command) {
    arguments.push_back(argument.data());
    sizes.push_back(argument.size());
  }
  redisAppendCommandArgv(context_.get(), static_cast<int>(arguments.size()), arguments.data(),
                         sizes.data());
}

Result<Reply> Client::read_reply() {
  void* raw = nullptr;
  if (redisGetReply(context_.get(), &raw) != REDIS_OK || raw == nullptr) return lost();
  const std::unique_ptr<void, void (*)(void*)> owned(raw, freeReplyObject);
  return to_reply(*static_cast<redisReply*>(raw));
}

std::unexpected<Error> Client::lost() {
  const bool timed_out = context_ != nullptr && context_->err == REDIS_ERR_IO && errno == EAGAIN;
  const std::string why = context_ != nullptr ? context_->errstr : "out of memory";
  context_.reset();
  return std::unexpected(
      Error(timed_out ? Code::kTimeout : Code::kUnavailable,
            fmt::format("Redis at {}:{}: {}", address_.host, address_.port, why), Retry::kSafe)
          .with_remedy("See that the Redis server runs and accepts connections."));
}

Result<Reply> Client::command(const Command& command) {
  TRY_VOID(ensure_alive());
  append(command);
  TRY(Reply reply, read_reply());
  if (reply.kind == Reply::Kind::kError) return std::unexpected(server_error(reply.text));
  return reply;
}

Result<std::vector<Reply>> Client::pipeline(std::span<const Command> commands) {
  std::vector<Reply> replies;
  replies.reserve(commands.size());
  if (commands.empty()) return replies;
  TRY_VOID(ensure_alive());
  while (replies.size() < commands.size()) {
    const auto batch =
        commands.subspan(replies.size(), std::min(kBatchMax, commands.size() - replies.size()));
    for (const Command& command : batch) append(command);
    for (std::size_t i = 0; i < batch.size(); ++i) {
      TRY(Reply reply, read_reply());
      replies.push_back(std::move(reply));
    }
  }
  return replies;
}

}  // namespace banyan::redis
