#pragma once
// The questions of preflight that one database can answer by one query: a table of data. An
// answer's rows are the problems found, (what, the SQL that repairs it); no row means fine.
//
//   {tables}   the oids of the moved tables, on the source; an empty array on the target
//   {table_count} how many they are              {may_set}  may we set session_replication_role
//   {sessions} how many connections we open there at most
//   {acting}   do triggers or foreign keys of the moved tables change rows by themselves

#include <span>
#include <string_view>

#include "planes/replication/preflight.h"

namespace banyan::replication {

enum class Asked : std::uint8_t { kSource, kTarget, kBoth };

struct Question {
  Asked where;
  Severity severity;
  std::string_view id;     // the finding's is "source.id" or "target.id"
  std::string_view title;  // {side} stands for the side's name
  std::string_view sql;
  int version_least = 100000;  // servers that can be asked: from, and before
  int version_before = 1000000;
};

std::span<const Question> preflight_questions();

}  // namespace banyan::replication
