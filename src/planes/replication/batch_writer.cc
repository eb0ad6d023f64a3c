#include "planes/replication/batch_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "planes/replication/row_refetch.h"

namespace banyan::replication {
namespace {

constexpr std::size_t kCopyLeast = 256;  // so many rows are copied rather than inserted
constexpr std::size_t kCopyWrite = 1 << 16;
constexpr std::size_t kStepsMost = 2048;

Error wrong_count(const std::string& what, std::int64_t count, std::int64_t expected) {
  return Error(Code::kCorruption,
               fmt::format("{} met {} rows instead of {}", what, count, expected))
      .with_remedy(
          "The sides differ in this row: somebody else wrote to the applying side, or it is not a "
          "true copy. Nothing of this transaction was applied.\n"
          "1. Look at both versions of the row: `misfit` in the status.\n"
          "2. Make the row on the applying side what it was before this transaction, then start "
          "again: applying goes on here.\n"
          "3. Cancel this migration and start it anew with an empty target.");
}

// A state of the data, not of the server or the connection.
bool is_about_rows(std::string_view sqlstate) {
  const auto group = sqlstate.substr(0, 2);
  return group == "22" || group == "23" || group == "42" || group == "0A" || group == "26" ||
         group == "44" || group == "54" || group == "XX";
}

}  // namespace

std::string_view operation_name(Operation operation) {
  switch (operation) {
    case Operation::kInsert:
      return "insert into";
    case Operation::kUpdate:
      return "update of";
    case Operation::kDelete:
      return "delete from";
    case Operation::kTruncate:
      return "truncate of";
  }
  return "";
}

Result<void> BatchWriter::write(std::span<const Fragment> fragments, Way way,
                                const Beside* beside) {
  parts_.clear();
  refetched_.clear();
  former_rows_.clear();
  former_plans_.clear();
  for (const auto& fragment : fragments) {
    for (const auto& change : fragment.changes) {
      if (change.operation == Operation::kTruncate) {
        TRY_VOID(flush(way, beside));
        TRY_VOID(truncate(change, fragment));
        continue;
      }
      TRY(const Change* left, left_to_apply(change, fragment.xid));
      if (left == nullptr) continue;
      TRY(auto* plan, plan_for(change.relation, way, beside));
      ++rows_;
      items_.push_back({&fragment, left, plan});
    }
  }
  return flush(way, beside);
}

Result<void> BatchWriter::flush(Way way, const Beside* beside) {
  const auto items = std::exchange(items_, {});
  if (way == Way::kSets) return write_sets(items, beside);
  for (const auto& item : items) TRY_VOID(write_row(item));
  return {};
}

// Tables are independent of one another: nothing acts between them, or they are written in order.
Result<void> BatchWriter::write_sets(std::span<const Item> items, const Beside* beside) {
  compact(items);
  const Touches* shared = beside == nullptr || beside->shared.empty() ? nullptr : &beside->shared;
  if (shared != nullptr) {
    TRY_VOID(write_tables(shared, Part::kFree));
    TRY_VOID(settle());
    TRY_VOID(beside->wait());
  }
  for (const auto& item : items) {
    if (item.plan->is_row_wise) TRY_VOID(write_row(item));
  }
  TRY_VOID(write_tables(shared, Part::kShared));
  for (auto* plan : in_use_) plan->net.clear();
  in_use_.clear();
  for (const auto& item : items) item.plan->is_row_wise = false;
  return {};
}

void BatchWriter::compact(std::span<const Item> items) {
  for (const auto& item : items) {
    auto& plan = *item.plan;
    const auto columns = plan.table.row.fields().size();
    const bool fits = (item.change->row.empty() || item.change->row.size() == columns) &&
                      (item.change->old_row.empty() || item.change->old_row.size() == columns);
    if (!plan.table.set || plan.is_row_wise || !fits) {
      plan.is_row_wise = true;
      continue;
    }
    if (plan.net.rows().empty()) in_use_.push_back(&plan);
    if (!plan.net.add(*item.change)) plan.is_row_wise = true;
  }
}

Result<void> BatchWriter::write_tables(const Touches* shared, Part part) {
  for (auto* plan : in_use_) {
    if (plan->is_row_wise) continue;
    SetPlan::Rows rows;
    for (const auto& row : plan->net.rows()) {
      const bool is_shared = shared == nullptr || plan->table.footprint.meets(row, *shared);
      if (is_shared == (part == Part::kShared)) rows.push_back(&row);
    }
    TRY_VOID(write_table(*plan, rows));
  }
  return {};
}

Result<void> BatchWriter::write_table(Plan& plan, const SetPlan::Rows& rows) {
  SetPlan::Rows deleted;
  SetPlan::Rows inserted;
  std::map<std::string, SetPlan::Rows> updated;
  std::string shape;
  auto same_shape = updated.end();
  for (const auto* row : rows) {
    if (row->is_deleted()) deleted.push_back(row);
    if (row->is_inserted()) inserted.push_back(row);
    if (!row->is_updated()) continue;
    plan.table.set->update_shape(*row, shape);
    if (same_shape == updated.end() || same_shape->first != shape) {
      same_shape = updated.try_emplace(shape).first;
    }
    same_shape->second.push_back(row);
  }
  if (!deleted.empty()) {
    TRY(const auto statement, plan.table.set->remove(deleted, Text::kNo));
    TRY_VOID(run_set(plan, statement, Operation::kDelete,
                     [&] { return plan.table.set->remove(deleted, Text::kYes); }));
  }
  for (const auto& [shape, rows] : updated) {
    if (!shape.contains('1')) continue;
    TRY(const auto statement, plan.table.set->update(rows, Text::kNo));
    TRY_VOID(run_set(plan, statement, Operation::kUpdate,
                     [&] { return plan.table.set->update(rows, Text::kYes); }));
  }
  if (inserted.empty()) return {};
  return write_inserts(plan, inserted);
}

Result<void> BatchWriter::write_inserts(Plan& plan, const SetPlan::Rows& rows) {
  if (rows.size() >= kCopyLeast) return copy(plan, rows);
  TRY(const auto statement, plan.table.set->insert(rows, Text::kNo));
  return run_set(plan, statement, Operation::kInsert,
                 [&] { return plan.table.set->insert(rows, Text::kYes); });
}

Result<void> BatchWriter::run_set(Plan& plan, const SetStatement& statement, Operation operation,
                                  const std::function<Result<SetStatement>()>& with_text) {
  const auto text = [&]() -> Result<std::string> {
    TRY(auto written, with_text());
    return std::move(written.sql);
  };
  TRY(const auto* name, prepared(plan, "set " + statement.shape, text));
  const std::vector<pg::BinaryParam> params(statement.arrays.begin(), statement.arrays.end());
  TRY_VOID(pipeline_.execute_binary(*name, params));
  return step({.what = {},
               .plan = &plan,
               .operation = operation,
               .expect = Expect::kExactly,
               .rows = static_cast<std::int64_t>(statement.rows)});
}

Result<void> BatchWriter::copy(const Plan& plan, const SetPlan::Rows& rows) {
  TRY_VOID(settle());
  const auto done = [&]() -> Result<std::int64_t> {
    TRY_VOID(session_.copy_in_begin(plan.table.set->copy_sql()));
    std::string buffer;
    for (const auto* row : rows) {
      SetPlan::append_copy_row(buffer, *row->row, plan.table.row);
      if (buffer.size() < kCopyWrite) continue;
      TRY_VOID(session_.copy_in_write(buffer));
      buffer.clear();
    }
    TRY_VOID(session_.copy_in_write(buffer));
    return session_.copy_in_end();
  }();
  const auto what = "copy of new rows into " + plan.table.row.table().display();
  if (!done) {
    failed_on_rows_ = is_about_rows(session_.last_sqlstate());
    return std::unexpected(Error(done.error()).with_context(what));
  }
  if (*done == static_cast<std::int64_t>(rows.size())) return {};
  failed_on_rows_ = true;
  return std::unexpected(wrong_count(what, *done, static_cast<std::int64_t>(rows.size())));
}

Result<const std::string*> BatchWriter::prepared(Plan& plan, const std::string& shape,
                                                 const std::function<Result<std::string>()>& text) {
  auto& name = plan.statements[shape];
  if (!name.empty()) return &name;
  TRY(const auto sql, text());
  auto fresh = fmt::format("b{}", ++next_statement_);
  TRY_VOID(pipeline_.prepare(fresh, sql));
  TRY_VOID(step({.what = "preparing a statement for " + plan.table.row.table().display()}));
  name = std::move(fresh);
  return &name;
}

Result<void> BatchWriter::write_row(const Item& item) {
  auto& plan = *item.plan;
  const auto& change = *item.change;
  TRY(const auto statement, plan.table.row.statement(change, Text::kNo));
  if (!statement.is_needed) return {};
  TRY(const auto* name, prepared(plan, statement.shape, [&]() -> Result<std::string> {
        TRY(auto written, plan.table.row.statement(change, Text::kYes));
        return std::move(written.sql);
      }));
  std::vector<pg::RawParam> params;
  params.reserve(statement.params.size());
  for (const auto* cell : statement.params) {
    params.push_back(cell->kind == pg::CellKind::kText ? cell->bytes.data() : nullptr);
  }
  TRY_VOID(pipeline_.execute(*name, params));
  const bool may_be_gone = plan.table.is_cascaded_to && change.operation == Operation::kDelete;
  return step({.what = {},
               .plan = &plan,
               .change = &change,
               .operation = change.operation,
               .commit = item.fragment->commit,
               .expect = may_be_gone ? Expect::kAtMostOne : Expect::kOne});
}

// Of a table that was copied in pieces, only those go that were copied before the TRUNCATE.
Result<void> BatchWriter::truncate(const Change& change, const Fragment& fragment) {
  std::string list;
  for (const auto& relation : change.truncated) {
    const auto mapped = tables_.mapping().of(relation->schema, relation->name);
    TRY(const TablePlan* plan, tables_.of(relation));
    const auto name = plan->row.table().exactly();
    const ChunkFilter* filter = filter_of(*relation);
    if (filter != nullptr && filter->has_row_beyond(fragment.xid)) {
      return std::unexpected(
          Error(Code::kConflict, fmt::format("{} was truncated while rows of it were copied again",
                                             relation->display()))
              .with_remedy("Cancel and create the migration again with copy: table."));
    }
    const auto left = filter == nullptr ? std::optional<std::string>("true")
                                        : filter->left_to_truncate(
                                              fragment.xid, mapped.target_column(filter->column()));
    // Rows that are not theirs stay.
    const bool is_whole = left == "true" && mapped.where_there.empty();
    if (is_whole) list += fmt::format("{}{}", list.empty() ? "" : ", ", name);
    if (!left || is_whole) continue;
    const auto sql = fmt::format("delete from {} where ({}) and ({})", name, *left,
                                 mapped.where_there.empty() ? "true" : mapped.where_there);
    TRY_VOID(send(sql, sql, {}, Expect::kAny));
  }
  if (list.empty()) return {};
  return send(
      "truncate " + list,
      fmt::format("truncate {}{}", list, change.restart_identity ? " restart identity" : ""), {},
      Expect::kAny);
}

Result<void> BatchWriter::send(const std::string& what, const std::string& sql,
                               std::span<const pg::RawParam> params, Expect expect) {
  TRY_VOID(pipeline_.query(sql, params));
  return step({.what = what, .expect = expect});
}

Result<void> BatchWriter::step(Step step) {
  steps_.push_back(std::move(step));
  return steps_.size() >= kStepsMost ? check_answers() : Result<void>();
}

Result<void> BatchWriter::settle() {
  TRY_VOID(pipeline_.finish());
  TRY_VOID(check_answers());
  CHECK(steps_.empty());
  return {};
}

Result<void> BatchWriter::check_answers() {
  for (const auto& answer : pipeline_.results()) {
    if (steps_.empty()) return failure(Code::kInternal, "more answers than statements");
    auto done = std::move(steps_.front());
    steps_.pop_front();
    if (auto checked = check(done, answer); !checked) {
      failed_ = std::move(done);
      return checked;
    }
  }
  pipeline_.forget_results();
  return {};
}

std::string BatchWriter::describe(const Step& step) const {
  if (step.plan == nullptr || !step.what.empty()) return step.what;
  const auto table = step.plan->table.row.table().display();
  if (step.change == nullptr) {
    return fmt::format("{} {} in a batch", operation_name(step.operation), table);
  }
  return fmt::format("{} {} of the source transaction at {}", operation_name(step.operation), table,
                     pg::format_lsn(step.commit));
}

Result<void> BatchWriter::check(const Step& done, const pg::StepResult& answer) {
  if (!answer.sqlstate.empty()) {
    failed_on_rows_ = is_about_rows(answer.sqlstate);
    return failure(pg::code_from_sqlstate(answer.sqlstate),
                   fmt::format("{}: {} [{}]", describe(done), answer.message, answer.sqlstate),
                   answer.sqlstate.starts_with("40") ? Retry::kSafe : Retry::kNever);
  }
  if (answer.skipped) return failure(Code::kInternal, "a statement was skipped: " + describe(done));
  if (done.expect == Expect::kAny) return {};
  if (done.expect == Expect::kAtMostOne && answer.affected <= 1) return {};
  const std::int64_t expected = done.expect == Expect::kExactly ? done.rows : 1;
  if (answer.affected == expected) return {};
  if (done.plan == nullptr) {
    return failure(Code::kUnavailable, "another applier has claimed the stream", Retry::kSafe);
  }
  failed_on_rows_ = true;
  return std::unexpected(wrong_count(describe(done), answer.affected, expected));
}

Result<void> BatchWriter::reset() {
  auto left = pipeline_.finish();
  pipeline_.forget_results();
  steps_.clear();
  items_.clear();
  for (auto* plan : in_use_) plan->net.clear();
  in_use_.clear();
  for (auto& [id, plan] : plans_) {
    plan->statements.clear();
    plan->is_row_wise = false;
  }
  // What was read again is rolled back.
  for (auto former = former_rows_.rbegin(); former != former_rows_.rend(); ++former) {
    former->filter->set_row(former->row, former->snapshot);
  }
  former_rows_.clear();
  failed_.reset();
  failed_on_rows_ = false;
  rows_ = 0;
  return left;
}

std::optional<Misfit> BatchWriter::misfit() {
  if (!failed_ || failed_->plan == nullptr || failed_->change == nullptr) return std::nullopt;
  const auto& row = failed_->plan->table.row;
  const auto& change = *failed_->change;
  Misfit out{.table = row.table().display(),
             .operation = std::string(operation_name(failed_->operation)),
             .lsn = pg::format_lsn(failed_->commit),
             .key = {},
             .here = {},
             .there = {}};
  const auto& values = change.row.empty() ? change.old_row : change.row;
  for (std::size_t i = 0; i < values.size() && i < row.fields().size(); ++i) {
    if (values[i].kind != pg::CellKind::kText || row.fields()[i].name.empty()) continue;
    out.here.emplace_back(row.fields()[i].name, values[i].bytes);
  }
  const auto& old_row = change.old_row.empty() ? change.row : change.old_row;
  std::vector<pg::Param> params;
  std::string where;
  for (const std::size_t i : row.key()) {
    out.key.emplace_back(row.fields()[i].name, old_row[i].bytes);
    params.emplace_back(std::string(old_row[i].bytes));
    where += fmt::format("{} t.{} = ${}", where.empty() ? "" : " and", row.fields()[i].quoted,
                         params.size());
  }
  if (params.empty()) return out;
  auto db = pg::Connection::open(tables_.to_url(), {.application_name = "banyan_catalog"});
  if (!db) return out;
  const auto found = db->query(fmt::format("select pg_catalog.to_jsonb(t)::text from {} t where{}",
                                           row.table().exactly(), where),
                               params);
  if (found && !found->empty()) out.there = found->str(0, 0);
  return out;
}

Result<BatchWriter::Plan*> BatchWriter::plan_for(const RelationPtr& relation, Way way,
                                                 const Beside* beside) {
  const auto known = plans_.find(relation->id);
  if (known != plans_.end() && known->second->table.relation == relation) {
    return known->second.get();
  }
  TRY(const auto* table, tables_.of(relation));
  auto& plan = plans_[relation->id];
  if (plan) {
    // Two plans of one table in a batch would be written one after the other, whatever the order.
    TRY_VOID(flush(way, beside));
    former_plans_.push_back(std::move(plan));
  }
  plan = std::make_unique<Plan>(*table);
  return plan.get();
}

ChunkFilter* BatchWriter::filter_of(const Relation& relation) {
  if (filters_.empty()) return nullptr;
  const auto found = filters_.find(relation.display());
  return found == filters_.end() ? nullptr : &found->second;
}

// The row as the source has it now; null when it has gone since. Its key is a piece by itself then.
Result<const Change*> BatchWriter::whole(Change part, std::uint32_t xid, ChunkFilter& filter) {
  if (!source_ || !source_->is_alive()) {
    TRY(auto opened,
        pg::Connection::open(config_.from_url, {.application_name = "banyan_refetch"}));
    source_ = std::move(opened);
  }
  const auto row = row_key(*part.relation, part.row);
  if (row.empty()) return failure(Code::kUnsupported, "a key too large to be told by the stream");
  TRY(auto fetched, with_context(refetch_row(*source_, part, xid, filter.piece_snapshot(part)),
                                 "reading a row of " + part.relation->display() + " again"));
  TRY(auto snapshot, SnapshotFilter::parse(fetched.snapshot));
  former_rows_.push_back({&filter, row, filter.row_snapshot(row)});
  filter.set_row(row, std::move(snapshot));
  const auto table = part.relation->display();
  const std::array<pg::RawParam, 4> params{config_.stream.c_str(), table.c_str(), row.c_str(),
                                           fetched.snapshot.c_str()};
  TRY_VOID(send("keeping a row's snapshot", keep_refetched_sql(), params, Expect::kOne));
  if (!fetched.row) return nullptr;
  part.row = *std::move(fetched.row);
  refetched_.push_back(std::move(fetched.bytes));
  return &parts_.emplace_back(std::move(part));
}

Result<const Change*> BatchWriter::left_to_apply(const Change& change, std::uint32_t xid) {
  ChunkFilter* filter = filter_of(*change.relation);
  if (filter == nullptr) return &change;
  Change part;
  TRY(const Change* left, filter->left_to_apply(change, xid, part));
  if (left != &part) return left;
  if (part.operation == Operation::kInsert && !is_whole(part.row)) {
    return whole(std::move(part), xid, *filter);
  }
  return &parts_.emplace_back(std::move(part));
}

}  // namespace banyan::replication
