#include "planes/replication/proof_pass.h"

#include <fmt/format.h>

#include <algorithm>

#include "planes/replication/table_parts.h"

namespace banyan::replication {
namespace {

std::string name_of(const VerifiedTable& table) {
  return table.schema + "." + table.name;
}

}  // namespace

std::string shape_of(const ComparedTable& table, SideName from) {
  const auto& old_side = from == SideName::kOld ? table.active : *table.passive;
  const auto& new_side = from == SideName::kOld ? *table.passive : table.active;
  std::vector<std::string> columns;
  for (std::size_t at = 0; at < old_side.columns.size(); at++) {
    const auto& here = old_side.columns[at];
    const auto& there = new_side.columns[at];
    columns.push_back(fmt::format("{} {}{} = {} {}", here.name, here.type,
                                  here.is_key ? " key" : "", there.name, there.type));
  }
  std::ranges::sort(columns);
  std::string shape = fmt::format("{} where {} = {} {} where {}", old_side.oid, old_side.where,
                                  new_side.oid, new_side.qualified, new_side.where);
  for (const auto& column : columns) shape += "\n" + column;
  return shape;
}

const VerifiedTable& ProofPass::old_of(const ComparedTable& table) const {
  return from_ == SideName::kOld ? table.active : *table.passive;
}

void ProofPass::begin(std::string position) {
  finish();
  position_ = std::move(position);
  begun_ = proof_.open();
}

Coverage ProofPass::coverage() {
  return {.parts = [this](const ComparedTable& table) { return parts(table); },
          .compared = [this](const ComparedTable& table,
                             const TableVerdict& verdict) { note(table, verdict); }};
}

std::vector<ComparedTable> ProofPass::parts(const ComparedTable& table) {
  if (scope_ == Scope::kLast) return last_parts(table);
  if (scope_ == Scope::kAll || !table.passive) return {table};
  const auto& old_side = old_of(table);
  const auto known = proof_.table(name_of(old_side));
  if (!known || known->shape != shape_of(table, from_)) return {table};
  partly_.with([&](auto& partly) { partly.insert(name_of(old_side)); });
  return touched_parts(table, old_side, known->columns, known->touched)
      .value_or(std::vector{table});
}

std::vector<ComparedTable> ProofPass::last_parts(const ComparedTable& table) const {
  if (!table.passive) return {};
  const auto& old_side = old_of(table);
  const auto last = proof_.last_touched(name_of(old_side));
  return touched_parts(table, old_side, last.columns, last.touched)
      .value_or(std::vector<ComparedTable>());
}

void ProofPass::note(const ComparedTable& table, const TableVerdict& verdict) {
  if (!table.passive && from_ == SideName::kNew) return;  // not to be named
  const auto name = name_of(old_of(table));
  const bool is_partly = partly_.with([&](const auto& partly) { return partly.contains(name); });
  findings_.with([&](Findings& findings) {
    findings[name] = {.is_equal = verdict.equal,
                      .is_whole = !is_partly,
                      .shape = table.passive ? shape_of(table, from_) : "",
                      .rows = verdict.rows};
  });
}

void ProofPass::settle(const Findings& findings) {
  if (begun_) proof_.close(*begun_, findings, position_);
  begun_.reset();
}

void ProofPass::finish() {
  settle(findings_.with([](Findings& findings) { return std::exchange(findings, {}); }));
}

}  // namespace banyan::replication
