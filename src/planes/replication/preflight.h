#pragma once
// Preflight: read-only questions about both databases before anything is touched. Each check says
// what is wrong with which object, how severe that is, and the SQL that repairs it.
//   must    the migration would fail or lose something
//   should  works, with a risk or a cost
//   info    worth knowing

#include <filesystem>
#include <string>
#include <vector>

#include "planes/replication/act.h"

namespace banyan::replication {

enum class Severity : std::uint8_t { kMust, kShould, kInfo };
std::string_view severity_name(Severity severity);

struct Finding {
  std::string id;  // "source.wal_level"
  Severity severity = Severity::kInfo;
  std::string title;
  std::string detail;   // what was found; empty when ok
  std::string fix_sql;  // may be several statements; empty when it is nothing SQL can do
  bool ok = true;
};

// Fine when there is no trouble to tell; `fix` is forgotten then.
Finding found(std::string id, Severity severity, std::string title, std::string trouble,
              std::string fix = "");
// An answer's rows are the problems found: (what, the SQL that repairs it). A question that could
// not be asked is trouble too.
Finding found_in(std::string id, Severity severity, std::string title,
                 const Result<pg::Rows>& answer);

// Every check, in a fixed order. Fails only when a database cannot be reached at all; a question
// that cannot be asked (a missing right) is a finding.
Result<std::vector<Finding>> preflight(const Sides& sides, const TableNames& tables,
                                       const std::string& migration, const Mapping& mapping);
// Of this machine: whether the disk that `spool` is on, or will be, has `limit` bytes free.
Finding check_spool_room(const std::filesystem::path& spool, std::int64_t limit);

}  // namespace banyan::replication
