#pragma once
// Verifier: proves that both sides hold the same rows, exactly, while applications write.
//
//   active:  a temporary slot exports a snapshot at its consistent point C
//   passive: the engine stops applying exactly at C for the moment a snapshot is taken there
//   then both snapshots are compared, table by table: count and sum of row hashes, each an
//   order-independent multiset hash; an unequal table is narrowed to 1024 buckets and those to
//   rows.
//
// The catalogs are read anew (verified_tables.h). Rows are compared as the text of their columns
// under pinned settings, generated columns included; under a mapping, those rows and columns that
// are moved, with their names of each side.

#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "planes/replication/verified_tables.h"

namespace banyan::replication {

struct Difference {
  std::string key = {};                      // the key's columns, or empty for a table without one
  std::vector<std::string> key_values = {};  // the same, one by one
  std::optional<std::string> source = {};    // the row there; nothing when absent
  std::optional<std::string> target = {};
};

// What `source` of the one difference of a table says that the passive side does not have.
inline constexpr std::string_view kMissingTable = "table with these columns";

struct TableVerdict {
  std::string table;        // on the active side
  std::string table_there;  // on the passive side
  std::int64_t rows = 0;    // on the active side
  bool equal = false;
  std::vector<Difference> differences = {};  // the first ones
  bool has_more = false;                     // differences than these
};

// How many differences of a table are looked for; the rest is only known to exist.
struct DifferenceLimits {
  std::size_t buckets = 8;  // of 1024, read row by row
  std::size_t rows = 100;
};

struct Verdict {
  bool equal = true;
  std::int64_t rows = 0;
  std::vector<TableVerdict> tables;
};

// What of each table is compared, and who hears what was found. Any thread.
struct Coverage {
  // The same table, each time with other rows; none: it is known to be equal. Unset: all rows.
  std::function<std::vector<ComparedTable>(const ComparedTable&)> parts = {};
  std::function<void(const ComparedTable&, const TableVerdict&)> compared = {};
};

inline constexpr double kBackgroundRest = 1;

struct VerifierOptions {
  std::string active_url;
  std::string passive_url;
  Direction direction;  // from the active side to the passive one
  int jobs = 2;
  DifferenceLimits limits;
  // Runs `find_point` while nothing is applied, then `body` while the passive side stands exactly
  // at the point it gave.
  std::function<Result<void>(const std::function<Result<pg::Lsn>()>& find_point,
                             const std::function<Result<void>()>& body)>
      at_point;
  Coverage coverage = {};
  // In the background tables are read in parts, and after each it rests so many times as long.
  double rest = 0;
  // With snapshots older than this no table is begun: the rest gets new ones.
  Duration snapshot_age = 5min;
  std::function<bool()> is_cancelled = [] { return false; };
};

// Blocks for as long as it takes to read every covered row on both sides once.
Result<Verdict> verify(const VerifierOptions& options);

// Compares one table between two sessions that each hold their snapshot.
Result<TableVerdict> compare_table(SessionPairRef sides, const ComparedTable& table,
                                   const DifferenceLimits& limits = {});

// Two sessions that see the same moment of both sides, or are about to.
struct SessionPair {
  pg::Connection active;
  pg::Connection passive;
};
// Compares all tables, each pair of sessions one at a time.
Result<Verdict> compare_all(std::vector<SessionPair>& pairs, const VerifierOptions& options);

// Compares what is covered over two sessions that see the same, table after table; none is begun
// after `until`. Tells only of tables of which there was something.
Result<Verdict> compare_until(SessionPairRef sides, const VerifierOptions& options, Mono until);

// A session of the verifier; the second sees an exported snapshot. It waits 5 s for a lock at most:
// whoever waits for what it has read on the other side would wait as long.
Result<pg::Connection> open_pinned(const std::string& url);
Result<pg::Connection> open_at(const std::string& url, const std::string& snapshot);

// Compares only the rows with these keys.
Result<TableVerdict> compare_keys(SessionPairRef sides, const ComparedTable& table,
                                  const RowKeys& keys);

// The settings under which rows are text; for a session of the verifier.
Result<void> pin_formats(pg::Connection& db);

}  // namespace banyan::replication
