#include "planes/replication/feed.h"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>

#include "planes/replication/shared_slot.h"

namespace banyan::replication {
namespace {

std::unexpected<Error> must_repair(const std::string& migration, const std::string& what) {
  return std::unexpected(
      Error(Code::kConflict, what)
          .with_remedy(fmt::format(
              "Changes may be missing, so nothing more is applied.\n"
              "1. Copy only what differs, and go on from there: banyan migrate repair {0}\n"
              "2. Before a switch: banyan migrate cancel {0}, and create it anew.",
              migration)));
}

}  // namespace

Feed::~Feed() {
  stop_receiving();
}

bool Feed::is_receiving() const {
  return receiving_.joinable() && half_.standing().state != StreamState::kFailed;
}

void Feed::stop_receiving() {
  receiving_ = std::jthread();
  half_.set(StreamState::kStopped);
}

Result<void> Feed::open(const ReceiverConfig& config, pg::Lsn applied) {
  const std::lock_guard lock(mutex_);
  const bool is_shared = !share_.empty();
  if (is_shared && slot_ != config.identity) {
    return must_repair(config.migration, "the slot of " + share_ + " was made anew for another");
  }
  log_.add_reader(config.migration);
  log_.set_durable(config.migration, applied);
  const auto allowed = allowed_.find(config.migration);
  open_[config.migration] = allowed == allowed_.end() ? config.spool_limit : allowed->second;
  set_limit();
  // What has failed for one has failed for all who read it, until it is asked for again.
  if (auto now = half_.standing(); now.state == StreamState::kFailed && now.error) {
    return std::unexpected(*std::move(now.error));
  }
  const bool has_it = is_shared || (config_.identity == config.identity && log_.covers(applied));
  if (!is_receiving() || !has_it) TRY_VOID(start_receiving(config, applied));
  return is_shared ? check_shared(config, applied) : Result<void>();
}

void Feed::set_limit() {
  if (!open_.empty()) signals_.spool_limit = std::ranges::min(open_ | std::views::values);
}

void Feed::allow(const std::string& migration, std::int64_t spool_limit) {
  const std::lock_guard lock(mutex_);
  allowed_[migration] = spool_limit;
  const auto reader = open_.find(migration);
  if (reader != open_.end()) reader->second = spool_limit;
  set_limit();
}

std::optional<Feed::Full> Feed::full() const {
  const auto unread = log_.unread();
  const auto limit = signals_.spool_limit.load();
  if (limit == 0 || unread <= limit) return std::nullopt;
  std::string slowest;
  for (const auto& [reader, reading] : log_.readers()) {
    if (log_.standing(reader).unread == unread) slowest = reader;
  }
  Full full{
      .alarm = fmt::format("receiving stands: {} kB wait in the spool for {}, and no more than "
                           "{} kB may",
                           unread / 1000, slowest, limit / 1000),
      .remedy =
          "1. Bring its target back, or see why applying is behind: receiving goes on by "
          "itself.\n"};
  if (share_.empty()) {
    full.remedy += "2. Raise its spool_mb, then: banyan migrate create " + slowest;
    return full;
  }
  full.alarm += "; all that share " + share_ + " wait";
  full.remedy += fmt::format(
      "2. Take it out of the share: banyan migrate cancel {0}. The others go on at once, also when "
      "its "
      "target does not answer: then cancel again later.\n"
      "3. Raise spool_mb of all that share {1}, then banyan migrate create for each of them.",
      slowest, share_);
  return full;
}

Result<void> Feed::check_shared(const ReceiverConfig& config, pg::Lsn applied) const {
  if (log_.begins_before(applied)) return {};
  return must_repair(config.migration,
                     fmt::format("the slot of {} has forgotten changes behind {} that neither the "
                                 "target nor the spool has",
                                 share_, pg::format_lsn(applied)));
}

Result<void> Feed::start_receiving(const ReceiverConfig& config, pg::Lsn applied) {
  stop_receiving();
  config_ = config;
  if (!share_.empty()) {
    TRY(applied, shared_beginning(config, applied));
  }
  TRY_VOID(log_.recover(spool_, config_.identity, applied));
  signals_.received = log_.end().value();
  signals_.confirmed = 0;
  half_.set(StreamState::kWaiting);
  receiving_ = std::jthread([this](const std::stop_token& stop) {
    half_.run(
        share_.empty() ? config_.migration : share_,
        [this](const auto& own) { return receive(own); }, stop);
  });
  return {};
}

// Where the slot goes on: some of those who share it may not be known to have anything.
Result<pg::Lsn> Feed::shared_beginning(const ReceiverConfig& config, pg::Lsn applied) {
  TRY(auto db, pg::Connection::open(config.url, {.application_name = "banyan_engine"}));
  TRY(const auto members, SharedSlot(share_, config.migration).members(db));
  for (const auto& member : members) log_.add_reader(member);
  TRY(const auto rows, db.query("select confirmed_flush_lsn from "
                                "pg_catalog.pg_replication_slots where slot_name = $1",
                                {config.identity.slot}));
  if (rows.empty() || rows.is_null(0, 0)) return applied;  // the receiver says what is wrong
  return pg::parse_lsn(rows.text(0, 0));
}

Result<void> Feed::receive(const std::stop_token& stop) {
  TRY(auto receiver, Receiver::open(config_, log_, signals_));
  half_.set(StreamState::kRunning);
  return receiver.run(stop);
}

void Feed::retry() {
  const std::lock_guard lock(mutex_);
  if (half_.standing().state == StreamState::kFailed) stop_receiving();
}

void Feed::close(const std::string& migration) {
  const std::lock_guard lock(mutex_);
  open_.erase(migration);
  set_limit();
  if (!open_.empty()) return;
  stop_receiving();
  log_.close();
}

void Feed::reopen(std::uint64_t generation) {
  const std::lock_guard lock(mutex_);
  if (log_.generation() != generation) return;
  stop_receiving();
  log_.close();
}

void Feed::join(const std::string& migration, pg::Lsn durable) {
  log_.add_reader(migration);
  log_.set_durable(migration, durable);
}

Result<void> Feed::leave(const std::string& migration,
                         const std::function<Result<bool>()>& unlist) {
  const std::lock_guard lock(mutex_);
  TRY(const bool is_anybody_left, unlist());
  log_.remove_reader(migration);
  open_.erase(migration);
  set_limit();
  if (is_anybody_left) return {};
  stop_receiving();
  log_.close();
  slot_.reset();
  std::error_code trouble;
  std::filesystem::remove_all(spool_, trouble);
  if (!trouble) return {};
  return failure(Code::kUnavailable, "cannot remove " + spool_.string(), Retry::kSafe);
}

void Feed::set_slot(const LogIdentity& slot) {
  const std::lock_guard lock(mutex_);
  if (slot_ == slot) return;
  const bool is_another = slot_.has_value();
  slot_ = slot;
  if (!is_another) return;
  stop_receiving();
  log_.close();
  for (const auto& [reader, reading] : log_.readers()) log_.set_durable(reader, {});
}

Result<std::shared_ptr<Feed>> SharedFeeds::find(const std::string& share, const std::string& url) {
  return feeds_.with([&](auto& feeds) -> Result<std::shared_ptr<Feed>> {
    auto& known = feeds[share];
    auto feed = known.feed.lock();
    if (!feed) {
      feed = std::make_shared<Feed>(root_ / ("shared." + share), share);
      known = {url, feed};
    }
    if (known.url == url) return feed;
    return std::unexpected(
        Error(Code::kInvalidArgument,
              "the others that share slot " + share + " name their source by another address")
            .with_remedy("1. Name it alike. 2. Give another name, or none, under share."));
  });
}

}  // namespace banyan::replication
