#include "planes/sessions/django_redis_sessions.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <unordered_set>

#include "planes/sessions/signing.h"

namespace banyan::sessions {
namespace {

constexpr Duration kTimeout = 3s;
constexpr int kScanCount = 5000;
constexpr std::size_t kMgetMax = 500;

std::string glob_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::string_view("*?[]\\^").contains(c)) out += '\\';
    out += c;
  }
  return out;
}

std::string digest_of(const std::string& bytes) {
  return fmt::format("{:016x}", std::hash<std::string>{}(bytes));
}

// Whole seconds, rounded down: what the copying takes must not lengthen a session's life.
std::int64_t whole_seconds_ms(std::int64_t left_ms) {
  return std::max(left_ms / 1000, 1L) * 1000;
}

Result<Value> read_cached(std::string_view bytes) {
  if (!bytes.starts_with('\x78')) return read_pickle(bytes);  // not compressed by zlib
  TRY(const std::string pickle, inflate_bytes(bytes));
  return read_pickle(pickle);
}

}  // namespace

DjangoRedisSessions::DjangoRedisSessions(std::string url, CacheMode mode,
                                         std::string_view key_prefix)
    : url_(std::move(url)),
      prefix_(fmt::format("{}:1:django.contrib.sessions.{}", key_prefix,
                          mode == CacheMode::kCachedDb ? "cached_db" : "cache")) {}

Result<redis::Client*> DjangoRedisSessions::client() {
  if (!client_) {
    TRY(client_, redis::Client::connect(url_, kTimeout));
  }
  return &*client_;
}

Result<std::vector<std::string>> DjangoRedisSessions::keys() {
  TRY(redis::Client* const redis, client());
  std::unordered_set<std::string> found;
  std::string cursor = "0";
  do {
    TRY(const auto page, redis->command({"SCAN", cursor, "MATCH", glob_escaped(prefix_) + "*",
                                         "COUNT", std::to_string(kScanCount)}));
    if (page.items.size() != 2) return failure(Code::kCorruption, "SCAN answered something else");
    cursor = page.items[0].text;
    for (const auto& item : page.items[1].items)
      if (const auto key = item.text.substr(prefix_.size()); is_session_key(key)) found.insert(key);
  } while (cursor != "0");
  return std::vector<std::string>(found.begin(), found.end());
}

// One MGET for many values is several times cheaper than a GET each, and this runs inside a hold.
Result<std::vector<DjangoRedisSessions::Stored>> DjangoRedisSessions::fetch(
    std::span<const std::string> keys) {
  TRY(redis::Client* const redis, client());
  std::vector<redis::Command> gets;
  std::vector<redis::Command> ttls;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (i % kMgetMax == 0) gets.push_back({"MGET"});
    gets.back().push_back(prefix_ + keys[i]);
    ttls.push_back({"PTTL", prefix_ + keys[i]});
  }
  TRY(auto values, redis->pipeline(gets));
  TRY(const auto lives, redis->pipeline(ttls));
  std::vector<Stored> stored(keys.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    auto& batch = values[i / kMgetMax].items;
    if (i % kMgetMax >= batch.size()) return failure(Code::kCorruption, "MGET answered too little");
    auto& value = batch[i % kMgetMax];
    const auto ttl = lives[i].integer;
    const bool exists = value.kind == redis::Reply::Kind::kText && ttl != -2;
    stored[i].bytes = std::move(value.text);
    stored[i].left_ms = !exists ? -1 : ttl < 0 ? std::numeric_limits<std::int32_t>::max() : ttl;
  }
  return stored;
}

Result<std::vector<Fingerprint>> DjangoRedisSessions::survey() {
  TRY(const auto all, keys());
  TRY(const auto stored, fetch(all));
  std::vector<Fingerprint> found;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (stored[i].left_ms >= 0)
      found.push_back(
          {.key = all[i], .digest = digest_of(stored[i].bytes), .left_ms = stored[i].left_ms});
  return found;
}

Result<std::vector<Session>> DjangoRedisSessions::read(std::span<const std::string> keys) {
  TRY(const auto stored, fetch(keys));
  std::vector<Session> found;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (stored[i].left_ms < 0) continue;
    Session session{.key = keys[i],
                    .digest = digest_of(stored[i].bytes),
                    .left_ms = stored[i].left_ms,
                    .value = std::nullopt};
    if (auto value = read_cached(stored[i].bytes)) session.value = *std::move(value);
    found.push_back(std::move(session));
  }
  return found;
}

Result<std::vector<std::string>> DjangoRedisSessions::write(std::span<const Session> sessions) {
  std::vector<redis::Command> commands;
  std::vector<std::string> digests;
  for (const Session& session : sessions) {
    std::string pickle = write_pickle(*session.value);
    digests.push_back(digest_of(pickle));
    commands.push_back({"SET", prefix_ + session.key, std::move(pickle), "PX",
                        std::to_string(whole_seconds_ms(session.left_ms))});
  }
  TRY_VOID(run_all(commands));
  return digests;
}

Result<void> DjangoRedisSessions::erase(std::span<const std::string> keys) {
  std::vector<redis::Command> commands;
  for (const std::string& key : keys) commands.push_back({"DEL", prefix_ + key});
  return run_all(commands);
}

Result<void> DjangoRedisSessions::run_all(std::span<const redis::Command> commands) {
  TRY(redis::Client* const redis, client());
  TRY(const auto replies, redis->pipeline(commands));
  for (const auto& reply : replies)
    if (reply.kind == redis::Reply::Kind::kError)
      return std::unexpected(
          Error(Code::kUnavailable, "Redis refuses to write: " + reply.text)
              .with_remedy("Give the sessions a Redis with room: maxmemory-policy noeviction and "
                           "enough maxmemory, not a read-only replica."));
  return {};
}

}  // namespace banyan::sessions
