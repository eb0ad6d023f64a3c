#include "planes/replication/preflight.h"

#include <fmt/format.h>

#include "planes/replication/carry_checks.h"
#include "planes/replication/mapping_checks.h"
#include "planes/replication/pg_client.h"
#include "planes/replication/preflight_questions.h"

namespace banyan::replication {
namespace {

// What one migration opens on a side at most: copies, streams, the act, verification, census.
constexpr int kSessionsMost = 16;
constexpr double kCopyBytesPerSecond = 30e6;  // a careful guess over a network
using enum Severity;

std::string oid_array(const std::vector<FencedTable>& tables) {
  std::string list;
  for (const auto& table : tables) list += fmt::format("{}{}", list.empty() ? "" : ",", table.oid);
  return "'{" + list + "}'::oid[]";
}

std::string replaced(std::string text, std::string_view mark, std::string_view value) {
  for (auto at = text.find(mark); at != std::string::npos;
       at = text.find(mark, at + value.size())) {
    text.replace(at, mark.size(), value);
  }
  return text;
}

Finding finding_of(const Question& question, SideName side, const Result<pg::Rows>& answer) {
  const std::string_view prefix = side == SideName::kOld ? "source" : "target";
  return found_in(fmt::format("{}.{}", prefix, question.id), question.severity,
                  replaced(std::string(question.title), "{side}", prefix), answer);
}

// What every question may ask about, as SQL.
struct Subject {
  std::string tables;  // oids, on the source
  std::size_t table_count = 0;
  // A condition: triggers or foreign keys of the tables change rows by themselves, so writing them
  // again as an ordinary role would do so twice. Same schema, same answer on the target.
  std::string acting;
};

Finding ask(pg::Connection& db, const Question& question, SideName side, const Subject& subject) {
  const int version = db.server_version();
  if (version < question.version_least || version >= question.version_before) {
    return finding_of(question, side, pg::Rows());  // such a server does not have the problem
  }
  // Before 15 there is no right to grant: only superusers may.
  const auto may_set =
      version >= 150000 ? "has_parameter_privilege('session_replication_role', 'set')" : "false";
  const auto oids = side == SideName::kOld ? subject.tables : oid_array({});
  auto sql = replaced(std::string(question.sql), "{tables}", oids);
  sql = replaced(std::move(sql), "{table_count}", std::to_string(subject.table_count));
  sql = replaced(std::move(sql), "{acting}", subject.acting);
  sql = replaced(std::move(sql), "{sessions}", std::to_string(kSessionsMost));
  return finding_of(question, side, db.query(replaced(std::move(sql), "{may_set}", may_set)));
}

std::string value_of(pg::Connection& db, const std::string& sql) {
  auto rows = db.query(sql);
  return rows && !rows->empty() ? rows->str(0, 0) : "";
}

Subject subject_of(pg::Connection& source, const std::vector<FencedTable>& moved) {
  const auto oids = oid_array(moved);
  const auto answer = value_of(
      source,
      fmt::format("select exists (select from pg_trigger where tgrelid = any ({0}) and not "
                  "tgisinternal and tgname !~ '^banyan_' and tgenabled in ('O', 'A')) or "
                  "exists (select from pg_constraint where contype = 'f' and conrelid = any "
                  "({0}) and (confdeltype in ('c', 'n', 'd') or confupdtype in ('c', 'n', "
                  "'d')))",
                  oids));
  return {oids, moved.size(), answer == "f" ? "false" : "true"};
}

Finding check_encoding(pg::Connection& source, pg::Connection& target) {
  const auto here = value_of(source, "show server_encoding");
  const auto there = value_of(target, "show server_encoding");
  return found("target.encoding", kMust, "Both databases have the same encoding",
               here == there ? "" : here + " on the source, " + there + " on the target");
}

Finding check_version(pg::Connection& source, pg::Connection& target) {
  const int here = source.server_version() / 10000;
  const int there = target.server_version() / 10000;
  return found("target.version", kShould, "The target is not older than the source",
               there >= here ? "" : fmt::format("{} on the source, {} on the target", here, there));
}

Finding check_pg_dump(pg::Connection& source) {
  const auto tool = find_pg_dump(source.server_version() / 10000);
  return found("local.pg_dump", kMust, "pg_dump can read the source",
               tool ? "" : tool.error().message() + ". " + tool.error().remedy());
}

Finding check_same_database(pg::Connection& source, pg::Connection& target) {
  const std::string sql =
      "select system_identifier || '/' || current_database() from pg_control_system()";
  const auto here = value_of(source, sql);
  const bool same = !here.empty() && here == value_of(target, sql);
  return found("target.is_other", kMust, "Source and target are two databases",
               same ? "both addresses lead to the same database" : "");
}

Finding check_extensions(pg::Connection& source, pg::Connection& target) {
  std::string missing;
  auto used = source.query("select extname from pg_extension order by 1");
  for (std::size_t row = 0; used && row < used->size(); row++) {
    auto there = target.query("select 1 from pg_available_extensions where name = $1",
                              {used->param(row, 0)});
    if (there && there->empty()) missing += (missing.empty() ? "" : ", ") + used->str(row, 0);
  }
  return found("target.extensions", kMust, "The target offers the source's extensions",
               missing.empty() ? "" : "not available: " + missing);
}

// A mapped table that is there already is used as it is.
bool is_used_as_it_is(pg::Connection& target, const Mapping& mapping, const FencedTable& table) {
  const auto name = parse_table_name(table.root.empty() ? table.qualified : table.root);
  const auto* mapped = mapping.find(name.schema, name.table);
  return mapped != nullptr &&
         !value_of(target, "select to_regclass(" + pg::quote_literal(mapped->target_name()) + ")")
              .empty();
}

Finding check_empty(pg::Connection& target, const Mapping& mapping,
                    const std::vector<FencedTable>& tables, const std::string& migration) {
  const auto known = value_of(target, "select to_regclass('banyan.migration')");
  const bool resumed =
      !known.empty() && !value_of(target, "select 1 from banyan.migration where name = " +
                                              pg::quote_literal(migration))
                             .empty();
  std::string existing;
  for (const auto& table : tables) {
    if (resumed) break;
    const auto found =
        value_of(target, "select to_regclass(" + pg::quote_literal(table.qualified) + ")");
    if (found.empty() || is_used_as_it_is(target, mapping, table)) continue;
    existing += (existing.empty() ? "" : ", ") + table.qualified;
  }
  return found("target.empty", kMust, "The target has none of the moved tables",
               existing.empty() ? "" : "exist already: " + existing,
               "drop table " + existing + ";\n");
}

// What the source writes in `seconds`, judged by its last minutes when the server counts it (14+).
std::string wal_growth(pg::Connection& source, double seconds) {
  if (source.server_version() < 140000) return "not counted before version 14";
  const auto per_second =
      std::atof(value_of(source,
                         "select wal_bytes / greatest(extract(epoch from now() - stats_reset), 1) "
                         "from pg_stat_wal")
                    .c_str());
  return fmt::format("about {:.0f} MB", per_second * seconds / 1e6);
}

// How long it may take and what it costs: never a problem, always worth knowing.
Finding estimate(pg::Connection& source, const std::vector<FencedTable>& tables) {
  const auto bytes = std::atoll(
      value_of(source,
               fmt::format("select coalesce(sum(pg_table_size(t)), 0)::bigint from unnest({}) t",
                           oid_array(tables)))
          .c_str());
  const double mb = static_cast<double>(bytes) / 1e6;
  const double minutes = static_cast<double>(bytes) / kCopyBytesPerSecond / 60;
  Finding finding{"source.estimate", kInfo, "What the move will take", "", "", true};
  finding.detail = fmt::format(
      "{:.0f} MB in {} tables: about {:.0f} minutes of copying at 30 MB/s, about {:.0f} MB of log "
      "on the target; the source keeps its own log of that time ({} until the copy ends)",
      mb, tables.size(), minutes, mb * 1.3, wal_growth(source, minutes * 60));
  return finding;
}

}  // namespace

std::string_view severity_name(Severity severity) {
  switch (severity) {
    case Severity::kMust:
      return "must";
    case Severity::kShould:
      return "should";
    case Severity::kInfo:
      return "info";
  }
  return "";
}

Finding found(std::string id, Severity severity, std::string title, std::string trouble,
              std::string fix) {
  const bool ok = trouble.empty();
  return {
      std::move(id), severity, std::move(title), std::move(trouble), ok ? "" : std::move(fix), ok};
}

Finding found_in(std::string id, Severity severity, std::string title,
                 const Result<pg::Rows>& answer) {
  if (!answer) {
    return found(std::move(id), severity, std::move(title),
                 "could not be asked: " + answer.error().message());
  }
  Finding finding{std::move(id), severity, std::move(title), "", "", answer->empty()};
  for (std::size_t row = 0; row < answer->size(); row++) {
    finding.detail += (row > 0 ? "; " : "") + answer->str(row, 0);
    const auto fix = answer->str(row, 1) + "\n";
    if (fix.size() > 1 && !finding.fix_sql.contains(fix)) finding.fix_sql += fix;
  }
  return finding;
}

Finding check_spool_room(const std::filesystem::path& spool, std::int64_t limit) {
  const auto id = "local.spool_room";
  const auto title = "The disk of the spool has room for what may wait there";
  auto existing = spool;
  std::error_code trouble;
  while (!std::filesystem::exists(existing, trouble) && existing.has_relative_path()) {
    existing = existing.parent_path();
  }
  const auto disk = std::filesystem::space(existing, trouble);
  if (trouble) return found(id, kShould, title, existing.string() + ": " + trouble.message());
  const auto free_mb = disk.available / 1'000'000;
  const auto wanted_mb = static_cast<std::uintmax_t>(limit) / 1'000'000;
  if (free_mb >= wanted_mb) return found(id, kShould, title, "");
  return found(id, kShould, title,
               fmt::format("{} MB are free under {}, spool_mb allows {}. 1. Make room there. 2. "
                           "Set spool_mb to less: then the log waits on the source instead",
                           free_mb, existing.string(), wanted_mb));
}

Result<std::vector<Finding>> preflight(const Sides& sides, const TableNames& tables,
                                       const std::string& migration, const Mapping& mapping) {
  TRY(auto source, with_context(pg::Connection::open(sides.old_url), "connecting to the source"));
  TRY(auto target, with_context(pg::Connection::open(sides.new_url), "connecting to the target"));
  TRY(const auto moved, with_context(fenced_tables(source, tables), "finding the tables"));
  const auto subject = subject_of(source, moved);
  std::vector<Finding> findings;
  for (const auto& question : preflight_questions()) {
    if (question.where != Asked::kTarget)
      findings.push_back(ask(source, question, SideName::kOld, subject));
    if (question.where != Asked::kSource)
      findings.push_back(ask(target, question, SideName::kNew, subject));
  }
  findings.push_back(check_encoding(source, target));
  findings.push_back(check_version(source, target));
  findings.push_back(check_pg_dump(source));
  findings.push_back(check_same_database(source, target));
  findings.push_back(check_extensions(source, target));
  findings.push_back(check_empty(target, mapping, moved, migration));
  findings.push_back(estimate(source, moved));
  for (auto& finding : carry_checks(source, target, tables)) findings.push_back(std::move(finding));
  for (auto& finding : mapping_checks(source, target, tables, mapping))
    findings.push_back(std::move(finding));
  return findings;
}

}  // namespace banyan::replication
