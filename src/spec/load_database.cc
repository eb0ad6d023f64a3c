#include "spec/load_database.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace banyan::spec {
namespace {

constexpr std::int64_t kLargestChunk = 64LL << 30;
constexpr std::int64_t kLongestMs = 24LL * 3600 * 1000;

void read_copy_of(Reader& reader, DatabaseMove& move) {
  for (const Entry& entry : reader.pairs({"copy_of", "Table: another way of the copy for it"})) {
    const auto& way = entry.value.text;
    if (way == "auto" || way == "table" || way == "chunk") {
      move.copy_of[entry.key] = way;
    } else {
      reader.problem("BY-0313", "copy_of", fmt::format("{}: {} is no way to copy", entry.key, way),
                     "write auto, table or chunk");
    }
  }
}

TableMap read_table(Reader& reader) {
  TableMap map;
  map.table = reader.text({"table", "Its name on the old side, as in SQL", Need::kRequired});
  map.to = reader.text({"to", "Its name on the new side (default: the same)"});
  for (const Entry& entry : reader.pairs({"columns", "Column: its name on the new side"})) {
    map.columns[entry.key] = entry.value.text;
  }
  map.without = reader.texts({"without", "Columns that do not move"});
  map.where = reader.text({"where", "SQL condition: only these rows move"});
  for (const auto& column : map.without) {
    if (!map.columns.contains(column)) continue;
    reader.problem("BY-0313", "without", column + " is renamed and left out",
                   "leave it out of columns or of without");
  }
  return map;
}

}  // namespace

void read_copy_options(Reader& reader, DatabaseMove& move) {
  read_copy_of(reader, move);
  move.chunk =
      reader.size({"chunk", "Size of a piece of the copy"}, {1, kLargestChunk}, move.chunk);
  reader.mapping({"throttle", "When the copy waits for the source"}, [&](Reader& inner) {
    auto& throttle = move.throttle;
    throttle.source_latency = inner.duration(
        {"source_latency", "A small query takes longer on the source (0: not looked at)"},
        {0, kLongestMs}, throttle.source_latency);
    throttle.replica_lag = inner.duration(
        {"replica_lag", "A standby of the source is this far behind (0: not looked at)"},
        {0, kLongestMs}, throttle.replica_lag);
  });
  move.apply =
      reader.choice({"apply", "How changes are written: in sets, or row by row"}, {"sets", "rows"});
}

void read_mapping(Reader& reader, DatabaseMove& move) {
  std::set<std::string> targets;
  std::set<std::string> sources;
  reader.list({"map", "Tables that move in part or under other names"}, [&](Reader& inner) {
    move.map.push_back(read_table(inner));
    const auto& map = move.map.back();
    if (!sources.insert(map.table).second) {
      inner.problem("BY-0313", "table", map.table + " is mapped twice",
                    "write one entry for each table");
    }
    const auto& to = map.to.empty() ? map.table : map.to;
    if (!targets.insert(to).second) {
      inner.problem("BY-0313", "to", "two tables become " + to, "give each a name of its own");
    }
  });
}

}  // namespace banyan::spec
