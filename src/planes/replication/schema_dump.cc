#include "planes/replication/schema_dump.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "planes/replication/pg_client.h"
#include "planes/replication/source_snapshot.h"

namespace banyan::replication {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

constexpr std::string_view kHeader = "-- Name: ";

// The value of `field` in "-- Name: t; Type: TABLE; Schema: public; Owner: -".
std::string header_field(std::string_view line, std::string_view field) {
  const auto start = line.rfind(field);
  if (start == std::string_view::npos) return "";
  const auto from = start + field.size();
  const auto end = line.find("; ", from);
  return std::string(line.substr(from, end == std::string_view::npos ? end : end - from));
}

bool is_header(std::string_view line) {
  return line.starts_with(kHeader) && line.contains("; Type: ") && line.contains("; Schema: ");
}

bool is_psql_command(std::string_view line) {
  return line.starts_with("\\restrict") || line.starts_with("\\unrestrict");
}

SchemaItem item_of(std::string_view line) {
  SchemaItem item;
  const auto type_at = line.rfind("; Type: ");
  item.name = std::string(line.substr(kHeader.size(), type_at - kHeader.size()));
  item.type = header_field(line, "; Type: ");
  item.schema = header_field(line, "; Schema: ");
  item.tablespace = header_field(line, "; Tablespace: ");
  // Each role has its own, of one name.
  if (item.type == "DEFAULT ACL") item.name += " OF " + header_field(line, "; Owner: ");
  return item;
}

// A server that went away in the middle of pg_dump comes back, and a lost snapshot is made anew;
// everything else does not pass.
bool lost_the_server(std::string_view said) {
  constexpr std::string_view kSigns[] = {"server closed the connection", "connection to server",
                                         "terminating connection",       "the database system is",
                                         "no connection to the server",  kSnapshotGone};
  for (const auto sign : kSigns) {
    if (said.contains(sign)) return true;
  }
  return false;
}

std::string path_of(const std::string& directory, const std::string& section) {
  return directory + "/" + section + ".sql";
}

std::string archive(const SchemaDumpRequest& request) {
  return request.directory + "/archive";
}

// For pg_dump, which need not ask for it then, and for pg_restore, which alone leaves out owners.
Words left_out(const SchemaDumpRequest& request) {
  Words words = {"--no-publications", "--no-subscriptions"};
  if (!request.keeps_tablespaces) words.push_back("--no-tablespaces");
  if (!request.keeps_labels) words.push_back("--no-security-labels");
  if (!request.keeps_owners) words.insert(words.end(), {"--no-owner", "--no-acl"});
  return words;
}

// Of `tables` only, unless there are none.
Result<void> write_archive(const std::string& pg_dump, const SchemaDumpRequest& request,
                           const TableNames& tables) {
  TRY(const auto address, pg::tool_address(request.source_url));
  auto command = left_out(request);
  command.insert(command.begin(), pg_dump);
  command.insert(command.end(), {"--schema-only", "--exclude-schema=banyan", "--encoding=UTF8",
                                 "--lock-wait-timeout=30000", "--format=custom", "--compress=0",
                                 "--file=" + archive(request), "--dbname=" + address.conninfo});
  if (!request.snapshot.empty()) command.push_back("--snapshot=" + request.snapshot);
  for (const auto& table : request.excluded) command.push_back("--exclude-table=" + table);
  for (const auto& table : tables) command.push_back("--table=" + table);
  Words settings;
  if (!address.password.empty()) settings.push_back("PGPASSWORD=" + address.password);
  TRY(const auto finished, run_program(command, settings));
  if (finished.status == 0) return {};
  const auto code = lost_the_server(finished.output) ? Code::kUnavailable : Code::kInternal;
  return failure(code, "pg_dump: " + finished.output);
}

// pg_restore comes with pg_dump, in the same folder. A section is there whole or not at all.
Result<void> write_section(const std::string& pg_dump, const SchemaDumpRequest& request,
                           const std::string& section, const std::string& file) {
  const auto whole = path_of(request.directory, file);
  const auto part = whole + ".part";
  auto command = left_out(request);
  command.insert(command.begin(), (fs::path(pg_dump).parent_path() / "pg_restore").string());
  command.insert(command.end(), {"--section=" + section, "--file=" + part, archive(request)});
  TRY(const auto finished, run_program(command, {}));
  if (finished.status != 0) return failure(Code::kInternal, "pg_restore: " + finished.output);
  std::error_code trouble;
  fs::rename(part, whole, trouble);
  if (trouble) return failure(Code::kInternal, part + ": " + trouble.message());
  return {};
}

}  // namespace

std::vector<SchemaItem> split_dump(std::string_view dump) {
  std::vector<SchemaItem> items{{"", "SETTINGS", "", ""}};
  while (!dump.empty()) {
    const auto end = dump.find('\n');
    const auto line = dump.substr(0, end);
    dump.remove_prefix(end == std::string_view::npos ? dump.size() : end + 1);
    if (is_psql_command(line)) continue;
    if (is_header(line)) {
      items.push_back(item_of(line));
    } else {
      items.back().sql.append(line).append("\n");
    }
  }
  return items;
}

Result<void> dump_schema(pg::Connection& source, const SchemaDumpRequest& request) {
  TRY(const auto pg_dump, find_pg_dump(source.server_version() / 10000));
  std::error_code trouble;
  fs::create_directories(request.directory, trouble);
  if (!request.tables.empty()) {
    TRY_VOID(write_archive(pg_dump, request, {}));
    TRY_VOID(write_section(pg_dump, request, kPreData, kTypes));
  }
  TRY_VOID(write_archive(pg_dump, request, request.tables));
  TRY_VOID(write_section(pg_dump, request, kPreData, kPreData));
  TRY_VOID(write_section(pg_dump, request, kPostData, kPostData));
  fs::remove(archive(request), trouble);
  return {};
}

Result<std::vector<SchemaItem>> read_section(const std::string& directory,
                                             const std::string& section) {
  const auto path = path_of(directory, section);
  std::ifstream file(path, std::ios::binary);
  if (!file) return failure(Code::kNotFound, "no schema dump at " + path);
  std::ostringstream text;
  text << file.rdbuf();
  return split_dump(text.str());
}

}  // namespace banyan::replication
