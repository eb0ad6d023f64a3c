#include "planes/replication/row_statements.h"

#include <fmt/format.h>

#include <algorithm>

namespace banyan::replication {
namespace {

using pg::CellKind;

std::string last_placeholder(const RowStatement& out) {
  return fmt::format("${}", out.params.size());
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts, separator));
}

bool is_key_of(const Relation& relation, const Table& table, const Relation::Column& column,
               const std::string& name_here) {
  if (relation.replica_identity != 'f') return column.is_key;
  return std::ranges::find(table.primary_key, name_here) != table.primary_key.end();
}

std::unexpected<Error> missing_column(const Relation& relation, const std::string& column) {
  return std::unexpected(
      Error(Code::kConflict,
            fmt::format("column {} of {} is in the stream but not in the table here", column,
                        relation.display()))
          .with_remedy(
              "Make the same change to the table on the applying side, then start again."));
}

}  // namespace

Result<RowPlan> RowPlan::create(const Relation& relation, Table table,
                                const TableMapping& mapping) {
  RowPlan plan;
  plan.target_ = table.qualified();
  for (const auto& column : relation.columns) {
    if (!mapping.has_column(column.name)) {
      plan.fields_.push_back({.name = {}, .quoted = {}, .type = {}, .is_written = false});
      continue;
    }
    const auto name = mapping.target_column(column.name);
    const Column* here = table.column(name);
    if (here == nullptr) return missing_column(relation, name);
    const bool is_key = is_key_of(relation, table, column, name);
    if (is_key) {
      plan.key_.push_back(plan.fields_.size());
      plan.key_names_.push_back(name);
    }
    plan.fields_.push_back({.name = name,
                            .quoted = pg::quote_ident(name),
                            .type = here->type,
                            .is_written = !here->is_generated,
                            .is_always_identity = here->identity == 'a',
                            .is_key = is_key});
  }
  plan.table_ = std::move(table);
  return plan;
}

Result<RowStatement> RowPlan::statement(const Change& change, Text text) const {
  const auto columns =
      change.operation == Operation::kDelete ? change.old_row.size() : change.row.size();
  if (columns != fields_.size() || (!change.old_row.empty() && change.old_row.size() != columns)) {
    return failure(Code::kCorruption, "a row has other columns than its relation");
  }
  switch (change.operation) {
    case Operation::kInsert:
      return insert(change, text);
    case Operation::kUpdate:
      return update(change, text);
    case Operation::kDelete:
      return remove(change, text);
    case Operation::kTruncate:
      break;
  }
  return failure(Code::kInternal, "truncate has no row");
}

RowStatement RowPlan::insert(const Change& change, Text text) const {
  RowStatement out;
  out.shape = "i";
  std::vector<std::string> names;
  std::vector<std::string> values;
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    if (!fields_[i].is_written) continue;
    out.params.push_back(&change.row[i]);
    if (text == Text::kNo) continue;
    names.push_back(fields_[i].quoted);
    values.push_back(last_placeholder(out));
  }
  if (text == Text::kNo) return out;
  out.sql = names.empty() ? fmt::format("insert into {} default values", target_)
                          : fmt::format("insert into {} ({}) overriding system value values ({})",
                                        target_, joined(names, ", "), joined(values, ", "));
  return out;
}

const pg::Tuple& RowPlan::old_values(const Change& change) const {
  return change.old_row.empty() ? change.row : change.old_row;
}

bool RowPlan::changes_key(const Change& change) const {
  if (change.old_row.empty()) return false;
  return std::ranges::any_of(key_,
                             [&](std::size_t i) { return change.row[i] != change.old_row[i]; });
}

bool RowPlan::needs_replace(const Change& change) const {
  const bool moves = changes_key(change);
  return std::ranges::any_of(fields_, [&](const Field& field) {
    return field.is_always_identity && (!field.is_key || moves);
  });
}

Result<std::string> RowPlan::find_row(const Change& change, Text text, RowStatement& out) const {
  if (!key_.empty()) return find_by_key(old_values(change), text, out);
  if (change.old_row.empty())
    return failure(Code::kCorruption, "an old row is missing in the stream");
  return find_by_all(change.old_row, text, out);
}

Result<std::string> RowPlan::find_by_key(const pg::Tuple& old, Text text, RowStatement& out) const {
  std::vector<std::string> parts;
  for (const std::size_t i : key_) {
    if (old[i].kind != CellKind::kText) {
      return failure(Code::kCorruption, "a key value is missing in the stream");
    }
    out.params.push_back(&old[i]);
    if (text == Text::kNo) continue;
    parts.push_back(fmt::format("{} = {}", fields_[i].quoted, last_placeholder(out)));
  }
  return text == Text::kNo ? std::string() : " where " + joined(parts, " and ");
}

Result<std::string> RowPlan::find_by_all(const pg::Tuple& old, Text text, RowStatement& out) const {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    if (old[i].kind == CellKind::kUnchangedToast) {
      return failure(Code::kCorruption, "an old value is missing in the stream");
    }
    if (!fields_[i].is_written) continue;
    out.params.push_back(&old[i]);
    if (text == Text::kNo) continue;
    parts.push_back(fmt::format("{}::text is not distinct from {}::{}::text", fields_[i].quoted,
                                last_placeholder(out), fields_[i].type));
  }
  if (text == Text::kNo) return std::string();
  return fmt::format(" where ctid = (select ctid from {}{}{} limit 1)", table_.exactly(),
                     parts.empty() ? "" : " where ", joined(parts, " and "));
}

Result<RowStatement> RowPlan::update(const Change& change, Text text) const {
  if (!key_.empty() && needs_replace(change)) return replace(change, text);
  const bool moves = changes_key(change);
  RowStatement out;
  out.shape = moves ? "U" : "u";
  std::vector<std::string> assignments;
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const bool is_set = fields_[i].is_written && change.row[i].kind != CellKind::kUnchangedToast &&
                        (moves || !fields_[i].is_key) && !fields_[i].is_always_identity;
    out.shape += is_set ? '1' : '0';
    if (!is_set) continue;
    out.params.push_back(&change.row[i]);
    if (text == Text::kNo) continue;
    assignments.push_back(fmt::format("{} = {}", fields_[i].quoted, last_placeholder(out)));
  }
  out.is_needed = !out.params.empty();
  if (!out.is_needed) return out;
  TRY(const auto where, find_row(change, text, out));
  if (text == Text::kYes) {
    out.sql = fmt::format("update {} set {}{}", table_.exactly(), joined(assignments, ", "), where);
  }
  return out;
}

RowStatement RowPlan::replace(const Change& change, Text text) const {
  RowStatement out;
  out.shape = "r";
  std::vector<std::string> names;
  std::vector<std::string> values;
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    const bool is_kept = change.row[i].kind == CellKind::kUnchangedToast;
    out.shape += is_kept ? 'k' : '1';
    if (!fields_[i].is_written) continue;
    if (!is_kept) out.params.push_back(&change.row[i]);
    if (text == Text::kNo) continue;
    names.push_back(fields_[i].quoted);
    values.push_back(is_kept ? "gone." + fields_[i].quoted
                             : fmt::format("{}::{}", last_placeholder(out), fields_[i].type));
  }
  std::vector<std::string> keys;
  for (const std::size_t i : key_) {
    out.params.push_back(&old_values(change)[i]);
    keys.push_back(fmt::format("{} = {}", fields_[i].quoted, last_placeholder(out)));
  }
  if (text == Text::kNo) return out;
  out.sql = fmt::format(
      "with gone as (delete from {4} where {1} returning *) "
      "insert into {0} ({2}) overriding system value select {3} from gone",
      target_, joined(keys, " and "), joined(names, ", "), joined(values, ", "), table_.exactly());
  return out;
}

Result<RowStatement> RowPlan::remove(const Change& change, Text text) const {
  RowStatement out;
  out.shape = "d";
  TRY(const auto where, find_row(change, text, out));
  if (text == Text::kYes) out.sql = fmt::format("delete from {}{}", table_.exactly(), where);
  return out;
}

}  // namespace banyan::replication
