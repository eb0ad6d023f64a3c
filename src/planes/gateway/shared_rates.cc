#include "planes/gateway/shared_rates.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <condition_variable>
#include <mutex>

#include "base/log.h"
#include "spec/spec.h"

namespace banyan::gateway {
namespace {

constexpr Duration kPatience = 500ms;  // with Redis: to connect, and for one answer
constexpr Duration kBackOffMost = 2s;
constexpr std::size_t kBatch = 500;  // clients of one command: Redis does nothing else meanwhile

// KEYS: clients. ARGV: rate, burst, then what each client was admitted. A key holds the time, in
// microseconds of Redis' clock, at which the client's bucket is full again, and lives until then.
constexpr std::string_view kCharge = R"(
local clock = redis.call('TIME')
local now = clock[1] * 1e6 + clock[2]
local token_us, burst = 1e6 / ARGV[1], tonumber(ARGV[2])
local left = {}
for i, key in ipairs(KEYS) do
  local full = math.max(now, tonumber(redis.call('GET', key) or now)) + ARGV[i + 2] * token_us
  if full > now then
    redis.call('SET', key, string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
  end
  left[i] = string.format('%.3f', burst - (full - now) / token_us)
end
return left
)";

// As in the buckets: a block of addresses in bytes, or what else names a client.
std::string name_of(std::string_view client) {
  spec::IpBytes block{};
  if (client.size() != block.size()) return std::string(client);
  std::ranges::copy(client, block.begin());
  return spec::client_text(block);
}

}  // namespace

redis::Command charge_command(const std::string& key_prefix, Rate rate,
                              std::span<const ClientRates::Asked> clients) {
  redis::Command command = {"EVAL", std::string(kCharge), std::to_string(clients.size())};
  for (const auto& one : clients) command.push_back(key_prefix + name_of(one.client));
  command.push_back(fmt::format("{}", rate.per_second));
  command.push_back(fmt::format("{}", rate.burst));
  for (const auto& one : clients) command.push_back(std::to_string(one.admitted));
  return command;
}

Result<std::vector<double>> tokens_left(const redis::Reply& reply, std::size_t clients) {
  std::vector<double> left;
  for (const redis::Reply& item : reply.items) {
    const char* const end = item.text.data() + item.text.size();
    const auto parsed = std::from_chars(item.text.data(), end, left.emplace_back());
    if (parsed.ec != std::errc() || parsed.ptr != end) left.clear();
  }
  if (left.size() != clients) return failure(Code::kInternal, "Redis: not an answer to a charge");
  return left;
}

std::optional<SharedRates::Options> SharedRates::options_of(const RouteSnapshot& snapshot) {
  const auto& shared = snapshot.limits.shared;
  if (!shared || !snapshot.limits_redis) return std::nullopt;
  return Options{.redis = *snapshot.limits_redis,
                 .key_prefix = shared->key_prefix,
                 .rate = client_rate(snapshot.limits)};
}

void SharedRates::adopt(const RouteSnapshot& snapshot) {
  auto options = options_of(snapshot);
  if (options == options_) return;
  thread_ = {};  // ends
  options_ = std::move(options);
  state_ = options_ ? State::kStarting : State::kOff;
  if (options_)
    thread_ = std::jthread(
        [this, options = *options_](const std::stop_token& stop) { run(stop, options); });
}

std::optional<bool> SharedRates::is_up() const {
  const State state = state_;
  return state == State::kOff ? std::nullopt : std::optional(state == State::kUp);
}

void SharedRates::run(const std::stop_token& stop, const Options& options) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  std::unique_lock lock(mutex);
  Connection connection;
  Duration pause = kInterval;
  while (!stop.stop_requested()) {
    const auto done = step(options, connection);
    note(done);
    pause = done ? kInterval : std::min(2 * pause, kBackOffMost);
    stopped.wait_for(lock, stop, pause, [] { return false; });
  }
}

// What was gathered without a connection is dropped. An exchange without clients is made too: it
// shows whether Redis is there.
Result<void> SharedRates::step(const Options& options, Connection& connection) {
  if (connection) {
    auto done = exchange(options, *connection);
    if (!done) connection.reset();
    return done;
  }
  TRY(const std::string url, spec::resolve(options.redis));
  TRY(connection, redis::Client::connect(url, kPatience));
  (void)rates_.gather();
  return {};
}

Result<void> SharedRates::exchange(const Options& options, redis::Client& client) {
  const Mono now = clock_.now();
  const auto asked = rates_.gather();
  std::span rest(asked);
  do {
    const auto batch = rest.first(std::min(rest.size(), kBatch));
    TRY(const auto reply, client.command(charge_command(options.key_prefix, options.rate, batch)));
    TRY(const auto left, tokens_left(reply, batch.size()));
    for (std::size_t i = 0; i < batch.size(); ++i)
      rates_.lower(batch[i].client, left[i], options.rate, now);
    rest = rest.subspan(batch.size());
  } while (!rest.empty());
  return {};
}

void SharedRates::note(const Result<void>& done) {
  const State now = done ? State::kUp : State::kDown;
  if (state_.exchange(now) == now) return;
  if (done)
    log_info("client limits are shared with other gateways");
  else
    log_warn("client limits are not shared: each gateway counts alone",
             {{"error", done.error().message()}});
}

}  // namespace banyan::gateway
