#include "planes/replication/copy_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <unordered_set>

namespace banyan::replication {
namespace {

constexpr std::int64_t kPageBytes = 8192;

std::int64_t number_of(const std::string& text) {
  return std::strtoll(text.c_str(), nullptr, 10);
}

std::int64_t pieces_of(const Table& table, std::int64_t bytes) {
  return table.bytes / std::max<std::int64_t>(1, bytes) + 1;
}

bool is_inside(KeyOrder order, const KeyRange& range, const std::string& key) {
  if (range.lo && !is_before(order, *range.lo, key)) return false;
  return !range.hi || is_before(order, key, *range.hi);
}

// Ascending keys that the server remembers as evenly far apart, with the least and the greatest.
Result<std::vector<std::string>> known_bounds(pg::Connection& source, const Table& table,
                                              const ChunkKey& key) {
  TRY(const auto rows,
      source.query("select pg_catalog.unnest(histogram_bounds::text::text[]) from "
                   "pg_catalog.pg_stats where schemaname = $1 and tablename = $2 and attname = $3 "
                   "and not inherited",
                   {table.schema, table.name, key.column}));
  std::vector<std::string> bounds;
  for (std::size_t row = 0; row < rows.size(); row++) bounds.push_back(rows.str(row, 0));
  if (bounds.size() < 2 && key.order == KeyOrder::kNumber) {
    // Never analyzed: numbers are taken as evenly spread. Two looks at an index.
    const auto column = pg::quote_ident(key.column);
    TRY(const auto ends, source.query(fmt::format("select min({}), max({}) from {}", column, column,
                                                  table.exactly())));
    if (!ends.is_null(0, 0)) bounds = {ends.str(0, 0), ends.str(0, 1)};
  }
  std::ranges::sort(bounds,
                    [&](const auto& a, const auto& b) { return is_before(key.order, a, b); });
  const auto repeated = std::ranges::unique(bounds);
  bounds.erase(repeated.begin(), repeated.end());
  return bounds;
}

// Between two numbers more of them can be found.
std::vector<std::string> refined(const std::vector<std::string>& bounds, std::size_t wanted) {
  if (bounds.size() < 2 || bounds.size() >= wanted) return bounds;
  const auto steps = static_cast<std::int64_t>(wanted / (bounds.size() - 1)) + 1;
  std::vector<std::string> all;
  for (std::size_t i = 0; i + 1 < bounds.size(); i++) {
    const auto from = number_of(bounds[i]);
    const auto to = number_of(bounds[i + 1]);
    const auto step = std::max<std::int64_t>(1, to / steps - from / steps);
    std::int64_t at = from;
    for (std::int64_t n = 0; n < steps && at < to; n++) {
      all.push_back(std::to_string(at));
      if (__builtin_add_overflow(at, step, &at)) break;
    }
  }
  all.push_back(bounds.back());
  return all;
}

void add_chunk(std::vector<Chunk>& chunks, const Table& table, const ChunkKey& key,
               KeyRange range) {
  Chunk chunk;
  chunk.table = &table;
  chunk.number = static_cast<int>(chunks.size());
  chunk.cut = Cut::kKeys;
  chunk.key_column = key.column;
  chunk.keys = std::move(range);
  chunks.push_back(std::move(chunk));
}

void cut_gap(std::vector<Chunk>& chunks, const Table& table, const ChunkKey& key,
             const KeyRange& gap, const std::vector<std::string>& borders) {
  KeyRange rest = gap;
  for (const auto& border : borders) {
    if (!is_inside(key.order, rest, border)) continue;
    add_chunk(chunks, table, key, {rest.lo, border});
    rest.lo = border;
  }
  add_chunk(chunks, table, key, rest);
}

std::string join(const std::vector<std::string>& words) {
  std::string list;
  for (const auto& word : words) list += (list.empty() ? "" : ", ") + word;
  return list;
}

std::string range_condition(const Chunk& chunk) {
  std::vector<std::string> parts;
  if (chunk.cut == Cut::kPages) {
    parts.push_back(fmt::format("ctid >= '({},0)'", chunk.from_page));
    if (chunk.to_page != 0) parts.push_back(fmt::format("ctid < '({},0)'", chunk.to_page));
  }
  const auto key = pg::quote_ident(chunk.key_column);
  if (chunk.keys.lo) parts.push_back(key + " >= " + pg::quote_literal(*chunk.keys.lo));
  if (chunk.keys.hi) parts.push_back(key + " < " + pg::quote_literal(*chunk.keys.hi));
  std::string sql;
  for (const auto& part : parts) sql += (sql.empty() ? "" : " and ") + part;
  return sql;
}

}  // namespace

bool has_stable_binary(std::uint32_t type) {
  // bool, bytea, "char", name, int8, int2, int4, text, oid, json, point, lseg, path, box, polygon,
  // line, cidr, float4, float8, circle, macaddr8, macaddr, inet, bpchar, varchar, date, time,
  // timestamp(tz), interval, timetz, bit, varbit, numeric, uuid, jsonb; then arrays of most of
  // these; then the built-in ranges.
  static const std::unordered_set<std::uint32_t> kStable = {
      16,   17,   18,   19,   20,   21,   23,   25,   26,   114,  600,  601,  602,
      603,  604,  628,  650,  700,  701,  718,  774,  829,  869,  1042, 1043, 1082,
      1083, 1114, 1184, 1186, 1266, 1560, 1562, 1700, 2950, 3802, 199,  1000, 1001,
      1002, 1003, 1005, 1007, 1009, 1014, 1015, 1016, 1021, 1022, 1115, 1182, 1183,
      1185, 1187, 1231, 1270, 2951, 3807, 3904, 3906, 3908, 3910, 3912, 3926};
  return kStable.contains(type);
}

std::optional<ChunkKey> chunk_key(const Table& table) {
  const auto& key = table.replica_key.empty() ? table.primary_key : table.replica_key;
  if (key.empty()) return std::nullopt;
  const Column* column = table.column(key.front());
  if (column == nullptr) return std::nullopt;
  switch (column->type_id) {
    case 20:  // int8, int2, int4
    case 21:
    case 23:
      return ChunkKey{column->name, KeyOrder::kNumber};
    case 2950:  // uuid
      return ChunkKey{column->name, KeyOrder::kBytes};
    case 25:  // text, varchar
    case 1043:
      if (!column->is_bytewise) return std::nullopt;
      return ChunkKey{column->name, KeyOrder::kBytes};
    default:
      return std::nullopt;
  }
}

Chunk whole_chunk(const Table& table) {
  Chunk chunk;
  chunk.table = &table;
  return chunk;
}

std::vector<Chunk> cut_by_pages(const Table& table, std::int64_t bytes) {
  const auto pages = table.heap_bytes / kPageBytes;
  const auto step = std::max<std::int64_t>(1, pages / pieces_of(table, bytes) + 1);
  std::vector<Chunk> chunks;
  for (std::int64_t from = 0; from == 0 || from < pages; from += step) {
    auto chunk = whole_chunk(table);
    chunk.number = static_cast<int>(chunks.size());
    chunk.cut = Cut::kPages;
    chunk.from_page = from;
    chunk.to_page = from + step;
    chunks.push_back(std::move(chunk));
  }
  chunks.back().to_page = 0;
  return chunks;
}

Result<std::vector<Chunk>> cut_by_keys(pg::Connection& source, const Table& table,
                                       const ChunkKey& key, const std::vector<KeyRange>& gaps,
                                       std::int64_t bytes) {
  const auto wanted = static_cast<std::size_t>(pieces_of(table, bytes));
  TRY(auto bounds, known_bounds(source, table, key));
  if (key.order == KeyOrder::kNumber) bounds = refined(bounds, wanted + 1);
  std::vector<std::string> borders;
  for (std::size_t part = 1; part < wanted && bounds.size() > 2; part++) {
    borders.push_back(bounds[std::min(bounds.size() - 2, part * bounds.size() / wanted)]);
  }
  const auto repeated = std::ranges::unique(borders);
  borders.erase(repeated.begin(), repeated.end());
  std::vector<Chunk> chunks;
  for (const auto& gap : gaps) cut_gap(chunks, table, key, gap, borders);
  return chunks;
}

std::vector<const Column*> copied_columns(const Table& table, const Mapping& mapping) {
  const auto part = mapping.of(table.schema, table.name);
  std::vector<const Column*> columns;
  for (const auto& column : table.columns) {
    if (!column.is_generated && part.has_column(column.name)) columns.push_back(&column);
  }
  return columns;
}

std::string target_name(const Table& table, const Mapping& mapping) {
  const auto part = mapping.of(table.schema, table.name);
  return pg::quote_qualified(part.target_schema, part.target_table);
}

std::string copy_out_sql(const Chunk& chunk, const Mapping& mapping, std::string_view format) {
  const auto& table = *chunk.table;
  std::vector<std::string> columns;
  for (const auto* column : copied_columns(table, mapping)) {
    columns.push_back(pg::quote_ident(column->name));
  }
  auto where = range_condition(chunk);
  const auto part = mapping.of(table.schema, table.name);
  if (!part.where.empty()) where += (where.empty() ? "(" : " and (") + part.where + ")";
  if (where.empty() && !columns.empty() && !table.is_partitioned) {
    return fmt::format("copy {} ({}) to stdout (format {})", table.qualified(), join(columns),
                       format);
  }
  return fmt::format("copy (select {} from {}{}{}) to stdout (format {})", join(columns),
                     table.exactly(), where.empty() ? "" : " where ", where, format);
}

std::string copy_in_sql(const Chunk& chunk, const Mapping& mapping, std::string_view format) {
  const auto part = mapping.of(chunk.table->schema, chunk.table->name);
  std::vector<std::string> columns;
  for (const auto* column : copied_columns(*chunk.table, mapping)) {
    columns.push_back(pg::quote_ident(part.target_column(column->name)));
  }
  return fmt::format("copy {}{} from stdin (format {})", target_name(*chunk.table, mapping),
                     columns.empty() ? "" : " (" + join(columns) + ")", format);
}

}  // namespace banyan::replication
