#include "planes/sessions/carrier.h"

#include <algorithm>
#include <future>
#include <unordered_set>

namespace banyan::sessions {
namespace {

constexpr std::size_t kBatchMax = 2000;          // sessions in memory at once
constexpr std::int64_t kLeftToleranceMs = 5000;  // rounding and the time between two surveys

using Index = std::unordered_map<std::string_view, const Fingerprint*>;

Index index_of(const std::vector<Fingerprint>& survey) {
  Index index;
  for (const Fingerprint& found : survey) index.emplace(found.key, &found);
  return index;
}

bool is_as_carried(const Fingerprint& from, const Carried& carried, const Index& to) {
  const auto found = to.find(from.key);
  if (carried.to_digest.empty()) return found == to.end();
  return found != to.end() && found->second->digest == carried.to_digest &&
         found->second->left_ms <= from.left_ms + kLeftToleranceMs &&
         from.left_ms <= found->second->left_ms + kLeftToleranceMs;
}

std::vector<std::string> keys_of(const std::vector<Fingerprint>& survey) {
  std::vector<std::string> keys;
  for (const Fingerprint& found : survey) keys.push_back(found.key);
  return keys;
}

template <class Fn>
Result<void> in_batches(const std::vector<std::string>& keys, Fn&& fn) {
  const std::span all(keys);
  for (std::size_t at = 0; at < all.size(); at += kBatchMax) {
    TRY_VOID(fn(all.subspan(at, std::min(kBatchMax, all.size() - at))));
  }
  return {};
}

Result<std::unordered_map<std::string, Session>> read_all(SessionStore& store) {
  TRY(const auto survey, store.survey());
  std::unordered_map<std::string, Session> all;
  TRY_VOID(in_batches(keys_of(survey), [&](std::span<const std::string> keys) -> Result<void> {
    TRY(auto sessions, store.read(keys));
    for (Session& session : sessions) {
      std::string key = session.key;
      all.emplace(std::move(key), std::move(session));
    }
    return {};
  }));
  return all;
}

}  // namespace

CarryPlan plan_carry(const std::vector<Fingerprint>& from, const std::vector<Fingerprint>* to,
                     const Ledger& ledger) {
  CarryPlan plan;
  const Index source = index_of(from);
  const Index destination = to != nullptr ? index_of(*to) : Index();
  for (const Fingerprint& session : from) {
    const auto carried = ledger.find(session.key);
    const bool is_current = carried != ledger.end() &&
                            carried->second.from_digest == session.digest &&
                            (to == nullptr || is_as_carried(session, carried->second, destination));
    if (!is_current) plan.write.push_back(session.key);
  }
  if (to != nullptr) {
    for (const Fingerprint& session : *to)
      if (!source.contains(session.key)) plan.erase.push_back(session.key);
  } else {
    for (const auto& [key, carried] : ledger)
      if (!source.contains(key)) plan.erase.push_back(key);
  }
  return plan;
}

Result<PassResult> Carrier::pass(Thorough thorough) {
  // The two surveys are of two servers: at the same time, since a hold may be waiting.
  std::future<Result<std::vector<Fingerprint>>> surveying;
  if (thorough == Thorough::kYes)
    surveying = std::async(std::launch::async, [this] { return to_.survey(); });
  TRY(const auto from, from_.survey());
  std::vector<Fingerprint> to;
  if (thorough == Thorough::kYes) {
    TRY(to, surveying.get());
  }
  const auto plan = plan_carry(from, thorough == Thorough::kYes ? &to : nullptr, ledger_);
  TRY_VOID(copy(plan.write));
  TRY_VOID(erase(plan.erase));
  if (thorough == Thorough::kYes) {
    const Index source = index_of(from);
    std::erase_if(ledger_, [&](const auto& entry) { return !source.contains(entry.first); });
  }
  const auto unreadable = std::ranges::count_if(
      ledger_, [](const auto& entry) { return entry.second.to_digest.empty(); });
  return PassResult{.sessions = from.size(),
                    .changed = plan.write.size() + plan.erase.size(),
                    .unreadable = static_cast<std::size_t>(unreadable)};
}

Result<void> Carrier::copy(const std::vector<std::string>& keys) {
  return in_batches(keys, [&](std::span<const std::string> batch) -> Result<void> {
    TRY(auto sessions, from_.read(batch));
    const auto readable =
        std::ranges::partition(sessions, [](const Session& s) { return s.value.has_value(); });
    std::vector<std::string> unreadable;
    for (const Session& session : readable) {
      unreadable.push_back(session.key);
      ledger_[session.key] = {.from_digest = session.digest, .to_digest = ""};
    }
    if (unreadable_ == Unreadable::kErase) {
      TRY_VOID(to_.erase(unreadable));
    }
    const std::span writable(sessions.data(), sessions.size() - readable.size());
    TRY(const auto digests, to_.write(writable));
    for (std::size_t i = 0; i < digests.size(); ++i)
      ledger_[writable[i].key] = {.from_digest = writable[i].digest, .to_digest = digests[i]};
    return {};
  });
}

Result<void> Carrier::erase(const std::vector<std::string>& keys) {
  TRY_VOID(in_batches(keys, [&](std::span<const std::string> batch) { return to_.erase(batch); }));
  for (const std::string& key : keys) ledger_.erase(key);
  return {};
}

Result<Comparison> Carrier::compare() {
  TRY(const auto from, read_all(from_));
  TRY(const auto to, read_all(to_));
  Comparison result{.sessions = from.size()};
  for (const auto& [key, session] : from) {
    if (!session.value) continue;  // counted as unreadable, not as different
    const auto other = to.find(key);
    const bool equal =
        other != to.end() && other->second.value && same(*session.value, *other->second.value);
    if (!equal) ++result.different;
  }
  for (const auto& [key, session] : to)
    if (!from.contains(key)) ++result.different;
  return result;
}

}  // namespace banyan::sessions
