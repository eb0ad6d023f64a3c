#include "planes/replication/schema_keeper.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "base/log.h"
#include "planes/replication/apply_progress.h"
#include "planes/replication/catalog.h"
#include "planes/replication/table_copy.h"

namespace banyan::replication {
namespace {

// A snapshot that has seen nothing but what every database begins with.
constexpr std::string_view kNothingSeen = "3:3:";

Result<pg::Connection> connect(const std::string& url) {
  return pg::Connection::open(url, {.application_name = "banyan_schema"});
}

std::string list_of(const std::vector<SchemaDifference>& found) {
  std::string list;
  for (const auto& one : found) {
    list += fmt::format("{}{} {} {}", list.empty() ? "" : "; ", one.kind, one.object, one.what);
  }
  return list;
}

bool is_new_table(const SchemaDifference& one) {
  return one.kind == "table" && one.what.starts_with("is missing");
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

Error changed(const std::string& what) {
  return Error(Code::kConflict, "the schema of the active side changed: " + what)
      .with_remedy(
          "1. Make the same change on the other side, then switch again. 2. Undo it. "
          "3. With ddl: apply_safe what can be repeated is repeated.");
}

}  // namespace

Error SchemaKeeper::stopped(pg::Connection& source,
                            const std::vector<SchemaDifference>& found) const {
  std::string repairs;
  for (const auto& one : found) {
    const bool tells = !one.repair.empty() && one.repair != "select" && one.kind != "table";
    if (tells) repairs += one.repair + "; ";
  }
  const auto last = last_ddl(source);
  return Error(Code::kConflict,
               fmt::format("the schema changed while migrating: {}{}", list_of(found),
                           last.empty() ? "" : ". Last statements: " + last))
      .with_remedy(fmt::format(
          "1. Make the same change on the new side{}{}, then start the migration again. 2. Undo it "
          "on the old side, then start again. 3. With ddl: apply_safe in the migration's "
          "configuration what can be repeated is repeated.",
          repairs.empty() ? "" : ": ", repairs));
}

// Gives what is left to be done.
Result<std::vector<SchemaDifference>> SchemaKeeper::repeat(
    pg::Connection& source, pg::Connection& target, const TableNames& tables,
    std::vector<SchemaDifference> found) const {
  if (config_.ddl != DdlPolicy::kApplySafe) return found;
  for (const auto& one : found) {
    if (one.repair.empty() || one.repair == "select" || one.kind == "table") continue;
    log_info("a schema change is repeated", {{"object", one.object}, {"sql", one.repair}});
    TRY_VOID(with_context(target.exec(one.repair), "repeating a change of " + one.object));
  }
  return compare_schemas(source, target, config_.direction(SideName::kOld, tables));
}

Result<void> SchemaKeeper::create_tables(pg::Connection& target,
                                         const std::vector<SchemaDifference>& found) const {
  TableNames names;
  std::string all;
  for (const auto& one : found) {
    if (!is_new_table(one)) continue;
    names.push_back(one.repair);
    // Whatever was copied into a table of that name is gone with it.
    TRY_VOID(target.query("delete from banyan.applied_chunks where stream = $1 and table_name = $2",
                          {stream_name(config_.name, SideName::kOld), one.object}));
    all += one.object + " ";
  }
  if (names.empty()) return {};
  log_info("new tables join the migration", {{"tables", all}});
  const auto mark = fmt::format("{:x}", std::hash<std::string>()(all));
  SchemaCopy schema({.migration = config_.name + "/" + mark,
                     .source_url = config_.sides.old_url,
                     .target_url = config_.sides.new_url,
                     .tables = names,
                     .directory = directory_ / "joined" / mark,
                     .jobs = 1,
                     .left_out = config_.left_out,
                     .family = SchemaCopyOptions::Family::kExact,
                     .fence = [&](pg::Connection& there) {
                       return add_missing_fences(there, config_.name,
                                                 config_.mapping.names_there(names),
                                                 FenceMode::kEnabled);
                     }});
  TRY_VOID(schema.bring_pre_data(""));
  TRY_VOID(schema.build_keys());
  TRY_VOID(schema.build_indexes());
  return schema.finish();
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
  auto published = publish(source, "banyan_" + config_.name, config_.streamed(SideName::kOld));
  auto ended = source.exec(published ? "commit" : "rollback");
  if (!published) return published;
  TRY_VOID(std::move(ended));
  const auto stream = stream_name(config_.name, SideName::kOld);
  TRY(const auto record, read_stream(target, stream));
  if (!record) return failure(Code::kConflict, "the stream's record is gone");
  Guarded<CopyProgress> progress;
  return copy_tables(
      {.migration = config_.name,
       .stream = stream,
       .source_url = config_.sides.old_url,
       .target_url = config_.sides.new_url,
       .tables = tables,
       .jobs = config_.jobs,
       .mode = CopyMode::kTable,
       .chunk_bytes = config_.chunk_bytes,
       .exported_snapshot = "",
       .slot_snapshot = record->snapshot.empty() ? std::string(kNothingSeen) : record->snapshot,
       .mapping = config_.mapping,
       .throttle = nullptr},
      progress, {});
}

Result<void> SchemaKeeper::copy_new_tables(pg::Connection& source, pg::Connection& target,
                                           const TableNames& names) {
  TRY(const auto tables, read_tables(source, config_.direction(SideName::kOld, names)));
  Guarded<CopyProgress> progress;
  TRY(const auto left,
      load_copied(target, stream_name(config_.name, SideName::kOld), tables, progress));
  if (left.empty()) return {};
  std::vector<Table> joining;
  for (const auto* table : left) joining.push_back(*table);
  TRY_VOID(add_missing_fences(target, config_.name, config_.mapping.names_there(names),
                              FenceMode::kEnabled));
  return engine_.without_stream(SideName::kOld,
                                [&] { return publish_and_copy(source, target, joining); });
}

Result<void> SchemaKeeper::look(const TableNames& tables) {
  TRY(auto source, connect(config_.sides.old_url));
  TRY(auto target, connect(config_.sides.new_url));
  TRY(const auto record, read_stream(target, stream_name(config_.name, SideName::kOld)));
  if (!record || record->stage != "following") return {};
  TRY(auto found, compare_schemas(source, target, config_.direction(SideName::kOld, tables)));
  has_differed_ = has_differed_ || !found.empty();
  TRY_VOID(with_context(create_tables(target, found), "joining new tables"));
  TRY(found, repeat(source, target, tables, std::move(found)));
  TRY(found, compare_schemas(source, target, config_.direction(SideName::kOld, tables)));
  // A table made since we began joins at the next look.
  std::erase_if(found,
                [](const SchemaDifference& one) { return !one.stops() || is_new_table(one); });
  if (!found.empty()) {
    engine_.set_schema_error(stopped(source, found));
    has_differed_ = true;
    return {};
  }
  TRY_VOID(with_context(copy_new_tables(source, target, tables), "joining new tables"));
  engine_.set_schema_error(std::nullopt);
  // The stream may have met the change before we did.
  if (std::exchange(has_differed_, false) && engine_.has_failed(SideName::kOld)) engine_.start();
  return {};
}

Result<void> SchemaKeeper::check(pg::Connection& active, pg::Connection& passive,
                                 const Direction& direction) {
  TRY(fingerprint_, fingerprint(active, direction.from));
  TRY(auto found, compare_schemas(active, passive, direction));
  std::erase_if(found, [](const SchemaDifference& one) { return !one.stops(); });
  if (!found.empty()) return std::unexpected(changed(list_of(found)));
  return {};
}

Result<void> SchemaKeeper::check_again(pg::Connection& active, const Direction& direction) {
  if (fingerprint_.empty()) return {};
  TRY(const auto now, fingerprint(active, direction.from));
  if (now != fingerprint_) return std::unexpected(changed("while the switch was prepared"));
  return {};
}

}  // namespace banyan::replication
