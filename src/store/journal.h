#pragma once
// Journal: what was intended, before doing it, and how it ended. StateStore: small named values.
//
// Both live in one SQLite file and are durable before a call returns (synchronous=FULL). Several
// processes may open the file: appends are ordered by SQLite, and a value changes only if nobody
// changed it since it was read. Any thread.

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/guarded.h"
#include "store/sqlite.h"

namespace banyan::store {

enum class EntryKind : std::uint8_t {
  kIntent,   // written before the step is done
  kOutcome,  // written after it, with its result
  kReceipt,  // proof of a step that cannot be observed later (sequence values copied, ...)
};
std::string_view kind_name(EntryKind kind);

// The step that stands for the act itself: its intent opens the act, its outcome closes it.
inline constexpr std::string_view kActStep = "act";

struct JournalEntry {
  std::int64_t sequence = 0;  // given by append(), rising, never reused
  std::string migration;
  std::string act_id;  // one attempt at an act: "switch-3"
  std::string step;
  EntryKind kind = EntryKind::kIntent;
  nlohmann::json detail = nlohmann::json::object();
  Wall time{};  // given by append()
};

class Journal {
 public:
  // Creates the file when it is missing; ":memory:" for tests. `clock` outlives the journal.
  static Result<std::unique_ptr<Journal>> open(const std::string& path, const Clock& clock);
  Journal(Database database, const Clock& clock) : database_(std::move(database)), clock_(clock) {}

  // Durable when it returns. Gives the entry's sequence number.
  Result<std::int64_t> append(const JournalEntry& entry);
  // Entries of a migration (of all, when empty) with a sequence above `after`, in order.
  Result<std::vector<JournalEntry>> read(std::string_view migration, std::int64_t after = 0);
  Result<std::vector<JournalEntry>> read_act(std::string_view act_id);
  // The opening entry of the newest act of the migration whose kActStep has no outcome yet.
  Result<std::optional<JournalEntry>> open_act(std::string_view migration);

 private:
  Guarded<Database> database_;
  const Clock& clock_;
};

struct StoredValue {
  nlohmann::json value;
  std::int64_t version = 0;  // 1 for the first value of a key; rises with each change
};

class StateStore {
 public:
  static Result<std::unique_ptr<StateStore>> open(const std::string& path);
  explicit StateStore(Database database) : database_(std::move(database)) {}

  Result<std::optional<StoredValue>> get(std::string_view key);
  Result<void> put(std::string_view key, const nlohmann::json& value);
  // Changes the value if its version is still `expected` (0: the key does not exist) and gives the
  // new version; Code::kConflict otherwise.
  Result<std::int64_t> compare_and_swap(std::string_view key, std::int64_t expected,
                                        const nlohmann::json& value);
  // Forgets the key and its version. A key that does not exist is fine.
  Result<void> remove(std::string_view key);
  // Keys that start with `prefix`, sorted.
  Result<std::vector<std::string>> keys(std::string_view prefix);

 private:
  Guarded<Database> database_;
};

}  // namespace banyan::store
