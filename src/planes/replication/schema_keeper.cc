#include "planes/replication/schema_keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/fail_point.h"
#include "base/log.h"
#include "planes/replication/apply_progress.h"
#include "planes/replication/catalog.h"
#include "planes/replication/ddl_gate.h"
#include "planes/replication/made_objects.h"
#include "planes/replication/table_copy.h"

namespace banyan::replication {
namespace {

const std::string kJoined = "JOINED";  // the mark of a join that is finished

// A snapshot that has seen nothing but what every database begins with.
constexpr std::string_view kNothingSeen = "3:3:";

Result<pg::Connection> connect(const std::string& url) {
  return pg::Connection::open(url, {.application_name = "banyan_schema"});
}

// Changes with every change of a column or of the set of tables; costs one look at the catalog.
Result<std::string> fingerprint(pg::Connection& db, const TableNames& tables) {
  TRY(const auto moved, fenced_tables(db, tables));
  TRY(const auto rows,
      db.query(fmt::format("select count(*) || '/' || coalesce(sum(pg_catalog.hashtext(attrelid || "
                           "' ' || attnum || ' ' || atttypid || attname || attnotnull)), 0) from "
                           "pg_catalog.pg_attribute where attnum > 0 and not attisdropped and "
                           "attrelid = any ('{{{}}}'::oid[])",
                           oid_list(moved))));
  return rows.str(0, 0);
}

Result<pg::Lsn> log_position(pg::Connection& db) {
  TRY(const auto now, db.query("select pg_catalog.pg_current_wal_insert_lsn()"));
  return pg::parse_lsn(now.text(0, 0));
}

// What stops nothing, and tables that join: one made since a look began joins at the next.
void erase_harmless(std::vector<SchemaDifference>& found) {
  std::erase_if(found,
                [](const SchemaDifference& one) { return !one.stops() || one.is_new_table(); });
}

Error changed(const std::string& what) {
  return Error(Code::kConflict, "the schema of the active side changed: " + what)
      .with_remedy(
          "1. Make the same change on the other side, then switch again. 2. Undo it. "
          "3. With ddl: apply_safe what can be repeated is repeated.");
}

}  // namespace

Error SchemaKeeper::stopped(pg::Connection& source,
                            const std::vector<SchemaDifference>& found) const {
  const auto last = last_ddl(source);
  return Error(Code::kConflict,
               fmt::format("the schema changed while migrating: {}{}", list_of(found),
                           last.empty() ? "" : ". Last statements: " + last))
      .with_remedy(ways_out(found));
}

Result<void> SchemaKeeper::create_tables(pg::Connection& target,
                                         const std::vector<SchemaDifference>& found) const {
  // One that is gone may be the missing one under its former name.
  const bool may_be_renamed = std::ranges::any_of(
      found, [](const SchemaDifference& one) { return one.kind == "table" && one.repair.empty(); });
  if (may_be_renamed) return {};
  TableNames names;
  std::string all;
  for (const auto& one : found) {
    if (!one.is_new_table()) continue;
    names.push_back(one.repair);
    // Whatever was copied into a table of that name is gone with it.
    TRY_VOID(target.query("delete from banyan.applied_chunks where stream = $1 and table_name = $2",
                          {stream(), one.object}));
    all += one.object + " ";
  }
  if (names.empty()) return {};
  log_info("new tables join the migration", {{"tables", all}});
  return join(names, fmt::format("{}/{:x}", config_.name, std::hash<std::string>()(all)));
}

// A join that was interrupted is begun anew: the table may lack its keys, or its parent.
Result<void> SchemaKeeper::take_back_unfinished(pg::Connection& target) const {
  TRY(const auto known, target.query("select pg_catalog.to_regclass('banyan.made') is null or "
                                     "pg_catalog.to_regclass('banyan.schema_item') is null"));
  if (known.boolean(0, 0)) return {};
  TRY(const auto marks,
      target.query("select distinct migration from banyan.made m where strpos(migration, $1) = 1 "
                   "and not exists (select 1 from banyan.schema_item i where i.migration = "
                   "m.migration and i.item = $2)",
                   {config_.name + "/", kJoined}));
  for (std::size_t row = 0; row < marks.size(); row++) {
    TRY_VOID(drop_made_objects(target, marks.str(row, 0)));
  }
  return {};
}

Result<void> SchemaKeeper::join(const TableNames& names, const std::string& mark) const {
  SchemaCopy schema({.migration = mark,
                     .source_url = config_.sides.of(from_),
                     .target_url = config_.sides.of(other_side(from_)),
                     .tables = names,
                     .directory = directory_ / "joined" / std::filesystem::path(mark).filename(),
                     .jobs = 1,
                     .left_out = config_.left_out,
                     .family = SchemaCopyOptions::Family::kExact,
                     .fence = [&](pg::Connection& there) {
                       return add_missing_fences(there, config_.name,
                                                 config_.direction(other_side(from_), names),
                                                 FenceMode::kArmed);
                     }});
  TRY_VOID(schema.bring_pre_data(""));
  TRY_VOID(fail_point("join.tables_made"));
  TRY_VOID(schema.build_keys());
  TRY_VOID(schema.build_indexes());
  TRY_VOID(schema.finish());
  TRY(auto target, connect(config_.sides.of(other_side(from_))));
  TRY_VOID(target.query("insert into banyan.schema_item values ($1, $2)", {mark, kJoined}));
  return {};
}

// The lock waits for transactions that write these tables: what they wrote is not in the stream,
// but every later change is.
Result<void> SchemaKeeper::publish_and_copy(pg::Connection& source, pg::Connection& target,
                                            const std::vector<Table>& tables) const {
  std::string list;
  for (const auto& table : tables) {
    list += (list.empty() ? "" : ", ") + table.exactly();
  }
  TRY_VOID(source.exec(fmt::format(
      "begin; set local lock_timeout = '3s'; lock table {} in share row exclusive mode", list)));
  auto published = engine_.publish(from_, source);
  auto ended = source.exec(published ? "commit" : "rollback");
  if (!published) return published;
  TRY_VOID(std::move(ended));
  TRY(const auto record, read_stream(target, stream()));
  if (!record) return failure(Code::kConflict, "the stream's record is gone");
  TRY(const auto back, read_stream(source, stream_name(config_.name, other_side(from_))));
  Guarded<CopyProgress> progress;
  TRY_VOID(copy_tables(
      {.migration = config_.name,
       .stream = stream(),
       .source_url = config_.sides.of(from_),
       .target_url = config_.sides.of(other_side(from_)),
       .tables = tables,
       .jobs = config_.jobs,
       .mode = CopyMode::kTable,
       .chunk_bytes = config_.chunk_bytes,
       .exported_snapshot = "",
       .slot_snapshot = record->snapshot.empty() ? std::string(kNothingSeen) : record->snapshot,
       .mapping = config_.direction(from_).mapping,
       .throttle = nullptr,
       .has_way_back = back.has_value()},
      progress, {}));
  return fail_point("join.copied");
}

// What is copied is in the stream the other way too: nobody but us writes to it there yet.
Result<void> SchemaKeeper::carry_back(pg::Connection& source, pg::Connection& target,
                                      const std::vector<Table>& copied) const {
  const auto back = stream_name(config_.name, other_side(from_));
  TRY(const auto record, read_stream(source, back));
  if (!record) return {};
  Guarded<CopyProgress> progress;
  TRY(const auto unmarked, load_copied(source, back, copied, progress));
  if (unmarked.empty()) return {};
  std::vector<Table> tables;
  for (const auto* table : unmarked) tables.push_back(*table);
  TRY_VOID(engine_.publish(other_side(from_), target));
  return mark_copied(source, back, tables);
}

Result<void> SchemaKeeper::copy_left(pg::Connection& source, pg::Connection& target,
                                     const std::vector<const Table*>& left,
                                     const TableNames& names) {
  std::vector<Table> joining;
  for (const auto* table : left) joining.push_back(*table);
  TRY_VOID(add_missing_fences(target, config_.name, config_.direction(other_side(from_), names),
                              FenceMode::kArmed));
  return engine_.without_stream(from_, [&] { return publish_and_copy(source, target, joining); });
}

Result<void> SchemaKeeper::copy_new_tables(pg::Connection& source, pg::Connection& target,
                                           const TableNames& names) {
  const auto direction = config_.direction(from_, names);
  TRY(const auto tables, read_tables(source, direction));
  Guarded<CopyProgress> progress;
  TRY(const auto left, load_copied(target, stream(), tables, progress));
  if (!left.empty()) TRY_VOID(copy_left(source, target, left, names));
  return carry_back(source, target, tables);
}

Result<SchemaKeeper::Look> SchemaKeeper::begin_look(const TableNames& tables) const {
  TRY(auto source, connect(config_.sides.of(from_)));
  TRY(auto target, connect(config_.sides.of(other_side(from_))));
  TRY(const bool is_streamed, is_ddl_in_stream(source, "banyan_" + config_.name));
  return Look{.source = std::move(source),
              .target = std::move(target),
              .direction = config_.direction(from_, tables),
              .is_streamed = is_streamed,
              .passed = engine_.position(from_)};
}

// What the stream brings at its place is not acted on before: a difference counts when the stream
// has passed the look that saw it first.
Result<SchemaKeeper::Found> SchemaKeeper::left_by_stream(Look& look) {
  TRY(auto found, compare_schemas(look.source, look.target, look.direction));
  const auto comes_yet = [&](const SchemaDifference& one) {
    const auto& seen = look.before.found;
    return look.passed < look.before.at || std::ranges::find(seen, one) == seen.end();
  };
  if (look.is_streamed) std::erase_if(found, comes_yet);
  return found;
}

// What is left after the policy's repetitions.
Result<SchemaKeeper::Found> SchemaKeeper::repeat(Look& look) const {
  TRY(auto found, left_by_stream(look));
  if (found.empty() || !may_repeat(config_.ddl, found)) return found;
  TRY_VOID(repeat_changes(look.target, found));
  return left_by_stream(look);
}

// The change at which the stream stopped may have been made on the new side, or undone.
Result<void> SchemaKeeper::go_on(const Direction& direction) const {
  const auto stop = engine_.ddl_stop(from_);
  if (!stop) return {};
  const DdlGate gate({.from_url = config_.sides.of(from_),
                      .to_url = config_.sides.of(other_side(from_)),
                      .direction = direction,
                      .policy = config_.ddl});
  TRY(const bool passes, gate.would_pass(*stop));
  if (passes) engine_.start();
  return {};
}

Result<void> SchemaKeeper::look(const TableNames& tables) {
  TRY(auto look, begin_look(tables));
  TRY(const auto record, read_stream(look.target, stream()));
  if (!record || record->stage != "following") return {};
  TRY_VOID(take_back_unfinished(look.target));
  TRY(auto all, compare_schemas(look.source, look.target, look.direction));
  has_differed_ = has_differed_ || !all.empty();
  TRY(const auto now, log_position(look.source));
  look.before = std::exchange(last_, {now, all});
  TRY_VOID(with_context(create_tables(look.target, all), "joining new tables"));
  TRY(auto left, repeat(look));
  erase_harmless(left);
  if (!left.empty()) {
    engine_.set_schema_error(from_, stopped(look.source, left));
    return {};
  }
  TRY_VOID(with_context(copy_new_tables(look.source, look.target, tables), "joining new tables"));
  engine_.set_schema_error(from_, std::nullopt);
  TRY_VOID(go_on(look.direction));
  erase_harmless(all);
  if (!all.empty()) return {};
  // The stream may have met the change before we did.
  if (std::exchange(has_differed_, false) && engine_.has_failed(from_)) engine_.start();
  return {};
}

Result<void> SchemaKeeper::refuse_unjoined(pg::Connection& active, pg::Connection& passive,
                                           const Direction& direction) const {
  TRY(const auto tables, read_tables(active, direction));
  Guarded<CopyProgress> progress;
  TRY(const auto left, load_copied(passive, stream(), tables, progress));
  if (left.empty()) return {};
  return std::unexpected(
      Error(Code::kConflict, fmt::format("table {} is joining the migration, its rows are not "
                                         "copied yet",
                                         left.front()->display()))
          .with_remedy("1. Wait: it joins by itself within the next half minute. 2. When it does "
                       "not, the status says why."));
}

Result<void> SchemaKeeper::check(pg::Connection& active, pg::Connection& passive,
                                 const Direction& direction) {
  TRY(fingerprint_, fingerprint(active, direction.from));
  TRY(auto found, compare_schemas(active, passive, direction));
  std::erase_if(found, [](const SchemaDifference& one) { return !one.stops(); });
  if (!found.empty()) return std::unexpected(changed(list_of(found)));
  TRY_VOID(refuse_unjoined(active, passive, direction));
  TRY(const auto tables, read_tables(active, direction));
  return carry_back(active, passive, tables);  // a look may have been cut short
}

Result<void> SchemaKeeper::check_again(pg::Connection& active, const Direction& direction) {
  if (fingerprint_.empty()) return {};
  TRY(const auto now, fingerprint(active, direction.from));
  if (now != fingerprint_) return std::unexpected(changed("while the switch was prepared"));
  return {};
}

}  // namespace banyan::replication
