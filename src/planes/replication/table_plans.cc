#include "planes/replication/table_plans.h"

namespace banyan::replication {
namespace {

Result<bool> is_cascaded_to(pg::Connection& catalog, const Table& table) {
  TRY(const auto rows, catalog.query("select 1 from pg_catalog.pg_constraint where contype = 'f' "
                                     "and conrelid = $1::oid and confdeltype = 'c'",
                                     {std::to_string(table.oid)}));
  return !rows.empty();
}

}  // namespace

const TablePlan* TablePlans::known(const RelationPtr& relation) const {
  return state_.with([&](const State& state) -> const TablePlan* {
    const auto found = state.plans.find(relation.get());
    return found == state.plans.end() ? nullptr : found->second.get();
  });
}

Result<const TablePlan*> TablePlans::of(const RelationPtr& relation) {
  return state_.with([&](State& state) -> Result<const TablePlan*> {
    auto& plan = state.plans[relation.get()];
    if (plan) return plan.get();
    if (!state.catalog || !state.catalog->is_alive()) {
      TRY(auto opened, pg::Connection::open(to_url_, {.application_name = "banyan_catalog"}));
      state.catalog = std::move(opened);
    }
    TRY(plan, read(*state.catalog, relation));
    return plan.get();
  });
}

Result<std::unique_ptr<TablePlan>> TablePlans::read(pg::Connection& catalog,
                                                    const RelationPtr& relation) const {
  const auto mapped = mapping_.of(relation->schema, relation->name);
  TRY(auto table, read_table(catalog, mapped.target_schema, mapped.target_table));
  TRY(const bool cascades, is_cascaded_to(catalog, table));
  TRY(auto row, RowPlan::create(*relation, std::move(table), mapped));
  TRY(auto footprint, TableFootprint::read(catalog, row, role_));
  auto plan = std::make_unique<TablePlan>(
      TablePlan{.relation = relation, .row = std::move(row), .footprint = std::move(footprint)});
  plan->is_cascaded_to = cascades && role_ == SetPlan::Role::kOrigin;
  TRY(plan->set, SetPlan::read(catalog, plan->row, role_));  // it refers to plan->row
  return plan;
}

}  // namespace banyan::replication
