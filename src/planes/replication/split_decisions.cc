#include <fmt/format.h>

#include <algorithm>

#include "planes/replication/catalog.h"
#include "planes/replication/split_plan.h"

namespace banyan::replication {
namespace {

constexpr std::size_t kShown = 10;  // undecided crossings in one error

// A copy is applied to by the stream alone: nothing of its own may act or refuse there.
constexpr std::string_view kOwnRules = R"sql(
select 'FK CONSTRAINT ' || n.nspname || '.' || c.relname || ' ' || k.conname
from pg_catalog.pg_constraint k join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where k.contype = 'f' and c.oid = any ('{{{0}}}'::oid[])
union all
select 'TRIGGER ' || n.nspname || '.' || c.relname || ' ' || g.tgname
from pg_catalog.pg_trigger g join pg_catalog.pg_class c on c.oid = g.tgrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where not g.tgisinternal and g.tgname !~ '^banyan_fence' and c.oid = any ('{{{0}}}'::oid[])
)sql";

std::string ways_of(const Crossing& crossing) {
  std::string ways;
  for (const auto& way : crossing.decisions) ways += (ways.empty() ? "" : " | ") + way.decision;
  return ways;
}

Result<void> decide(Crossing& crossing, const SplitDecisions& decisions) {
  auto found = decisions.find(crossing.name());
  if (found == decisions.end()) found = decisions.find(crossing.kind + " *");
  if (found == decisions.end()) return {};
  const bool is_offered = std::ranges::any_of(
      crossing.decisions, [&](const auto& way) { return way.decision == found->second; });
  if (!is_offered) {
    return std::unexpected(
        Error(Code::kInvalidArgument,
              fmt::format("{} cannot be decided as {}", crossing.name(), found->second))
            .with_remedy("Choose one of: " + ways_of(crossing)));
  }
  crossing.decided = found->second;
  return {};
}

void add_new(TableNames& names, const TableNames& more) {
  for (const auto& name : more) {
    if (std::ranges::find(names, name) == names.end()) names.push_back(name);
  }
}

void carry_out(const Crossing& crossing, SplitPlan& plan) {
  const bool is_left_out = crossing.decided == kLeaveOutWay ||
                           (crossing.kind == "policy" && crossing.decided == "rewrite");
  if (crossing.decided == kMoveTooWay) add_new(plan.tables, crossing.others);
  if (crossing.decided == kCopyWay) add_new(plan.copies, crossing.others);
  if (is_left_out && !crossing.dumped_as.empty()) plan.left_out.push_back(crossing.dumped_as);
}

Result<void> check_copies(pg::Connection& source, SplitPlan& plan) {
  if (plan.copies.empty()) return {};
  TRY(const auto unlogged, read_unlogged(source, plan.copies));
  if (!unlogged.empty()) {
    return failure(Code::kUnsupported,
                   fmt::format("{} is unlogged: no stream could keep a copy of it",
                               unlogged.front().display()));
  }
  TRY(const auto copies, fenced_tables(source, plan.copies));
  TRY(const auto rows, source.query(fmt::format(kOwnRules, oid_list(copies))));
  for (std::size_t row = 0; row < rows.size(); row++) plan.left_out.push_back(rows.str(row, 0));
  return {};
}

}  // namespace

Result<SplitPlan> plan_split(pg::Connection& source, const TableNames& tables,
                             const SplitDecisions& decisions) {
  SplitPlan plan{.tables = tables, .copies = {}, .left_out = {}, .crossings = {}};
  for (std::size_t before = 0; before < plan.tables.size();) {
    before = plan.tables.size();
    plan.copies.clear();
    plan.left_out.clear();
    TRY(plan.crossings, find_crossings(source, plan.tables));
    for (auto& crossing : plan.crossings) {
      TRY_VOID(decide(crossing, decisions));
      carry_out(crossing, plan);
    }
  }
  TRY_VOID(check_copies(source, plan));
  return plan;
}

Result<void> require_decisions(const SplitPlan& plan) {
  std::string names;
  std::string lines;
  std::size_t open = 0;
  for (const auto& crossing : plan.crossings) {
    if (!crossing.needs_decision() || !crossing.decided.empty()) continue;
    if (++open > kShown) continue;
    names += fmt::format("{}{} ({})", names.empty() ? "" : "; ", crossing.name(), crossing.detail);
    lines += fmt::format("\n     \"{}\": {}", crossing.name(), ways_of(crossing));
  }
  if (open == 0) return {};
  if (open > kShown) names += fmt::format("; and {} more", open - kShown);
  return std::unexpected(
      Error(Code::kConflict,
            fmt::format("{} crossings of the split have no decision: {}", open, names))
          .with_remedy("1. See them all with their ways: banyan migrate plan-split NAME\n"
                       "2. Write one way for each under move.database.decisions:" +
                       lines + "\n3. Take away on the old side what crosses."));
}

}  // namespace banyan::replication
