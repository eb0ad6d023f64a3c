#include "planes/replication/proof.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/durable_file.h"
#include "base/fail_point.h"
#include "base/log.h"

namespace banyan::replication {
namespace {

using nlohmann::json;

json to_json(const TableProof& table) {
  return {{"shape", table.shape}, {"rows", table.rows},       {"position", table.position},
          {"at_ms", table.at_ms}, {"columns", table.columns}, {"touched", table.touched.to_json()}};
}

TableProof table_from(const json& kept) {
  return {.shape = kept.value("shape", ""),
          .rows = kept.value("rows", std::int64_t{0}),
          .position = kept.value("position", ""),
          .at_ms = kept.value("at_ms", std::int64_t{0}),
          .columns = kept.value("columns", std::vector<std::string>()),
          .touched = TouchedRows::from_json(kept.value("touched", json::object()))};
}

// What of `touch` was not known of the table.
TableTouch add(TableProof& table, const TableTouch& touch, Moment now) {
  TableTouch news{.columns = touch.columns, .kind = touch.kind};
  const bool has_other_key = !table.touched.empty() && table.columns != touch.columns;
  if (touch.is_all || has_other_key) {
    news.is_all = table.touched.add_all(now);
    return news;
  }
  table.columns = touch.columns;
  for (const auto& key : touch.keys) {
    if (table.touched.add(key, touch.kind, now)) news.keys.push_back(key);
  }
  // A key that cannot be told apart is not kept: the table is touched as a whole.
  if (table.touched.is_all() && !news.keys.empty()) news = {.is_all = true};
  return news;
}

json line_of(const std::string& table, const TableTouch& news) {
  return {{"table", table},
          {"columns", news.columns},
          {"numbers", news.kind == TouchedRows::Kind::kNumber},
          {"keys", news.keys},
          {"all", news.is_all}};
}

TableTouch touch_from(const json& line) {
  return {
      .columns = line.value("columns", std::vector<std::string>()),
      .kind = line.value("numbers", false) ? TouchedRows::Kind::kNumber : TouchedRows::Kind::kOther,
      .keys = line.value("keys", std::vector<TouchedRows::Key>()),
      .is_all = line.value("all", true)};
}

}  // namespace

Proof::Proof(std::filesystem::path file, std::size_t key_bytes_most)
    : path_(std::move(file)), key_bytes_most_(key_bytes_most) {
  state_.with([&](State& state) {
    load(state);
    rewrite(state);
  });
}

Proof::~Proof() {
  state_.with([](State& state) {
    if (state.file >= 0) ::close(state.file);
  });
}

// The first line is what was known when the file was made, the others what came after. The last one
// may be torn: what it would have told of was never written.
void Proof::load(State& state) const {
  std::ifstream file(path_);
  std::string text;
  if (!std::getline(file, text)) return;
  const auto known = json::parse(text, nullptr, false);
  if (!known.is_object()) return;
  state.epoch = known.value("epoch", std::int64_t{0});
  state.claims = known.value("claims", state.claims);
  for (const auto& [name, kept] : known.value("tables", json::object()).items()) {
    state.tables[name] = table_from(kept);
  }
  while (std::getline(file, text)) {
    const auto line = json::parse(text, nullptr, false);
    if (!line.is_object()) break;
    if (line.contains("claim")) {
      state.claims[line.value("claim", "")] = line.value("epoch", std::int64_t{0});
    }
    const auto table = state.tables.find(line.value("table", ""));
    if (table == state.tables.end()) continue;
    const auto touch = touch_from(line);
    add(table->second, touch, 0);
    remember(state.last[table->first], touch, 0);
  }
}

void Proof::remember(LastKeys& last, const TableTouch& touch, Moment now) {
  if (touch.keys.empty()) return;
  if (last.columns != touch.columns || last.kind != touch.kind) last.keys.clear();
  last.columns = touch.columns;
  last.kind = touch.kind;
  const auto news = std::min(kLastKeys, touch.keys.size());
  for (auto key = touch.keys.end() - static_cast<long>(news); key != touch.keys.end(); ++key) {
    last.keys.emplace_back(now, *key);
  }
  while (last.keys.size() > kLastKeys) last.keys.pop_front();
}

// Coarser rather than larger.
Result<void> Proof::bound(State& state, Moment now) const {
  const auto bytes = [](const auto& entry) { return entry.second.touched.key_bytes(); };
  std::size_t all = 0;
  for (const auto& entry : state.tables) all += bytes(entry);
  while (all > key_bytes_most_) {
    auto& [name, table] = *std::ranges::max_element(state.tables, {}, bytes);
    all -= table.touched.key_bytes();
    table.touched.add_all(now);
    if (table.is_proven()) TRY_VOID(append(state, line_of(name, {.is_all = true})));
  }
  return {};
}

void Proof::rewrite(State& state) const {
  json tables = json::object();
  for (const auto& [name, table] : state.tables) {
    if (table.is_proven()) tables[name] = to_json(table);
  }
  const json known = {{"epoch", state.epoch}, {"claims", state.claims}, {"tables", tables}};
  std::error_code absent;
  std::filesystem::create_directories(path_.parent_path(), absent);
  if (state.file >= 0) ::close(state.file);
  state.file = -1;
  const auto kept = write_durably(path_, known.dump() + "\n");
  if (!kept) return leave_none(state, kept.error());
  state.file = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
}

// What an older file claims may not be true any more.
void Proof::leave_none(State& state, const Error& why) const {
  log_warn("the proof is not kept", {{"error", why.message()}});
  std::error_code trouble;
  std::filesystem::remove(path_, trouble);
  state.is_stale = static_cast<bool>(trouble);
}

Result<void> Proof::append(State& state, const json& line) const {
  const auto text = line.dump() + "\n";
  const bool is_kept =
      state.file >= 0 &&
      ::write(state.file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
      ::fdatasync(state.file) == 0;
  return is_kept ? Result<void>() : forget(state, "its file cannot be written");
}

// The file goes first: it must not outlive what is not told in it.
Result<void> Proof::forget(State& state, std::string_view why) const {
  log_warn("nothing is proven any more", {{"why", why}});
  state.tables.clear();
  state.forgotten = ++state.now;
  state.is_stale = true;
  std::error_code trouble;
  std::filesystem::remove(path_, trouble);
  if (trouble) return failure(Code::kUnavailable, "cannot remove " + path_.string(), Retry::kSafe);
  state.is_stale = false;
  rewrite(state);
  return {};
}

Result<void> Proof::claimed(const std::string& stream, std::int64_t epoch) {
  return state_.with([&](State& state) -> Result<void> {
    const auto last = state.claims.find(stream);
    const bool is_next = last == state.claims.end() || last->second + 1 == epoch;
    state.claims[stream] = epoch;
    if (state.is_stale || (!is_next && !state.tables.empty()))
      return forget(state, "others have applied " + stream);
    return append(state, {{"claim", stream}, {"epoch", epoch}});
  });
}

bool Proof::is_watching() const {
  return state_.with([](const State& state) {
    return state.is_stale || !state.tables.empty() || !state.open.empty();
  });
}

Result<void> Proof::touch(const std::map<std::string, TableTouch>& tables) {
  TRY_VOID(fail_point("proof.touch"));
  return state_.with([&](State& state) -> Result<void> {
    if (state.is_stale) TRY_VOID(forget(state, "its file could not be removed"));
    const auto now = ++state.now;
    for (const auto& [name, touch] : tables) {
      remember(state.last[name], touch, now);
      auto table = state.tables.find(name);
      if (table == state.tables.end()) {
        if (state.open.empty()) continue;
        table = state.tables.try_emplace(name).first;
      }
      const auto news = add(table->second, touch, now);
      const bool is_news = news.is_all || !news.keys.empty();
      if (!is_news || !table->second.is_proven()) continue;
      TRY_VOID(append(state, line_of(name, news)));
    }
    return bound(state, now);
  });
}

Moment Proof::open() {
  return state_.with([](State& state) { return *state.open.insert(++state.now); });
}

void Proof::close(Moment begun, const std::map<std::string, TableFinding>& findings,
                  const std::string& position) {
  state_.with([&](State& state) {
    state.open.erase(state.open.find(begun));
    for (const auto& [name, found] : findings) {
      auto& table = state.tables[name];
      const bool is_late = begun < state.forgotten || begun < table.differed;
      if (is_late || (!found.is_whole && !table.is_proven())) continue;
      table.shape = found.is_equal ? found.shape : "";
      if (!found.is_equal) table.differed = begun;
      if (!found.is_equal) continue;
      table.touched.settle(begun);
      std::erase_if(state.last[name].keys, [&](const auto& key) { return key.first < begun; });
      if (found.is_whole) table.rows = found.rows;
      table.position = position;
      table.at_ms = to_ms(SystemClock().wall().time_since_epoch());
    }
    if (state.open.empty()) {
      std::erase_if(state.tables, [](const auto& entry) { return !entry.second.is_proven(); });
    }
    rewrite(state);
  });
}

std::optional<TableProof> Proof::table(const std::string& name) const {
  return state_.with([&](const State& state) -> std::optional<TableProof> {
    const auto found = state.tables.find(name);
    if (found == state.tables.end() || !found->second.is_proven()) return std::nullopt;
    return found->second;
  });
}

Proof::LastTouched Proof::last_touched(const std::string& name) const {
  return state_.with([&](const State& state) {
    LastTouched found;
    const auto last = state.last.find(name);
    if (last == state.last.end()) return found;
    found.columns = last->second.columns;
    for (const auto& [moment, key] : last->second.keys) {
      found.touched.add(key, last->second.kind, moment);
    }
    return found;
  });
}

std::map<std::string, ProofStanding> Proof::standing() const {
  std::map<std::string, ProofStanding> all;
  state_.with([&](const State& state) {
    for (const auto& [name, table] : state.tables) {
      if (!table.is_proven()) continue;
      const auto touched = table.touched.rows_at_most().value_or(table.rows);
      all[name] = {.rows = table.rows,
                   .unproven_rows = std::min(table.rows, touched),
                   .position = table.position,
                   .at_ms = table.at_ms};
    }
  });
  return all;
}

std::int64_t Proof::epoch() const {
  return state_.with([](const State& state) { return state.epoch; });
}

void Proof::set_epoch(std::int64_t epoch) {
  state_.with([&](State& state) {
    state.epoch = epoch;
    rewrite(state);
  });
}

}  // namespace banyan::replication
