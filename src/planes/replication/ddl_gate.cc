#include "planes/replication/ddl_gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/fail_point.h"
#include "base/log.h"

namespace banyan::replication {
namespace {

// A statement that waits for readers of the target holds up the stream; it is tried again.
constexpr const char* kPatience = "set lock_timeout = '5s'";

Result<pg::Connection> connect(const std::string& url) {
  return pg::Connection::open(url, {.application_name = "banyan_schema"});
}

// The last shape of each table.
std::map<std::string, std::string> final_shapes(const DdlTransaction& transaction) {
  std::map<std::string, std::string> shapes;
  for (const auto& entry : transaction.entries) {
    if (!entry.relation.empty()) shapes[entry.relation] = entry.shape;
  }
  return shapes;
}

std::string described(const DdlEntry& entry) {
  return fmt::format("{} ({}) at {}: {}", entry.who,
                     entry.application.empty() ? "?" : entry.application, entry.at,
                     entry.statement.empty() ? entry.tag : entry.statement);
}

}  // namespace

bool may_repeat(DdlPolicy policy, const std::vector<SchemaDifference>& found) {
  const auto is_easy = [](const SchemaDifference& one) {
    return !one.stops() || !one.repair.empty();
  };
  return policy == DdlPolicy::kApplySafe && std::ranges::all_of(found, is_easy);
}

Result<void> repeat_changes(pg::Connection& target, const std::vector<SchemaDifference>& found) {
  TRY_VOID(target.exec(kPatience));
  for (const auto& one : found) {
    if (!one.is_repeatable()) continue;
    log_info("a schema change is repeated", {{"object", one.object}, {"sql", one.repair}});
    TRY_VOID(with_context(target.exec(one.repair), "repeating a change of " + one.object));
    TRY_VOID(fail_point("ddl.repeated"));
  }
  return {};
}

Result<DdlGate::Sides> DdlGate::look(const Among& among) const {
  TRY(auto source, connect(config_.from_url));
  TRY(auto target, connect(config_.to_url));
  TRY(const auto tables, fenced_tables(target, config_.direction.to));
  std::set<std::string> moved;
  const auto there = config_.direction.mapping.reversed();
  for (const auto& table : tables) {
    const auto name = parse_table_name(table.qualified);
    const bool counts = !among || among->contains(name.schema + "." + name.table);
    if (counts && !is_mapped(table, there)) moved.insert(table.qualified);
  }
  return Sides{std::move(source), std::move(target), std::move(moved)};
}

// Of what cannot be repeated only what still differs: the rest was done here too, or undone there.
Result<DdlGate::Differences> DdlGate::differences(Sides& sides,
                                                  const DdlTransaction& transaction) const {
  Differences found;
  for (const auto& [table, shape] : final_shapes(transaction)) {
    if (!sides.moved.contains(table)) continue;
    TRY(const auto here, shape.empty() ? read_shape(sides.source, table) : parse_shape(shape));
    TRY(const auto there, read_shape(sides.target, table));
    std::ranges::move(compare_shapes(here, there), std::back_inserter(found));
  }
  std::erase_if(found, [](const SchemaDifference& one) { return !one.stops(); });
  if (found.empty() || may_repeat(config_.policy, found)) return found;
  TRY(const auto now, compare_schemas(sides.source, sides.target, config_.direction));
  std::erase_if(found, [&](const SchemaDifference& one) {
    return std::ranges::none_of(now, [&](const SchemaDifference& lasting) {
      return lasting.kind == one.kind && lasting.object == one.object;
    });
  });
  return found;
}

Error DdlGate::stopped(const DdlTransaction& transaction, const Differences& found) const {
  std::string statements;
  std::set<std::string> said;
  for (const auto& entry : transaction.entries) {
    if (entry.relation.empty() || !said.insert(entry.statement).second) continue;
    statements += (said.size() > 1 ? "; " : "") + described(entry);
  }
  return Error(Code::kConflict,
               fmt::format("the schema changed while migrating: {}. Everything before the "
                           "transaction at {} is applied, nothing of it: {}",
                           list_of(found), pg::format_lsn(transaction.commit), statements))
      .with_remedy(ways_out(found));
}

Result<DdlOutcome> DdlGate::pass(const DdlTransaction& transaction, const Among& among) const {
  TRY(auto sides, look(among));
  TRY(auto found, differences(sides, transaction));
  const bool repeats = !found.empty() && may_repeat(config_.policy, found);
  if (repeats) {
    TRY_VOID(repeat_changes(sides.target, found));
    TRY(found, differences(sides, transaction));
  }
  DdlOutcome outcome;
  for (const auto& entry : transaction.entries) {
    const bool is_moved = sides.moved.contains(entry.relation);
    const auto* verdict = !found.empty() ? "stops" : repeats ? "repeated" : "applied";
    outcome.notes.push_back({transaction.commit, entry, is_moved ? verdict : "outside"});
  }
  if (!found.empty()) outcome.stop = stopped(transaction, found);
  return outcome;
}

Result<bool> DdlGate::would_pass(const DdlTransaction& transaction) const {
  TRY(auto sides, look(std::nullopt));
  TRY(const auto found, differences(sides, transaction));
  return found.empty() || may_repeat(config_.policy, found);
}

}  // namespace banyan::replication
