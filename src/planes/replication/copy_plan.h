#pragma once
// CopyPlan: how a table is cut into chunks, and the COPY statements of a chunk.
//
//   whole   a small table, or one that cannot be cut: replaces what is there
//   pages   a range of ctid. Only under one snapshot for all of a table: an update moves a row to
//           another page, so under two snapshots it would be seen twice or never.
//   keys    a range of the leading column of its key: every chunk may have a snapshot of its own,
//           which is what makes a copy resumable without holding one
//
// Where ranges of keys begin is taken from the server's statistics; it decides how even the chunks
// are, never which rows are copied: the ranges of a table always cover everything.

#include <optional>
#include <string>
#include <vector>

#include "planes/replication/catalog.h"
#include "planes/replication/chunk_filter.h"
#include "planes/replication/mapping.h"

namespace banyan::replication {

enum class Cut : std::uint8_t { kWhole, kPages, kKeys };

struct Chunk {
  const Table* table = nullptr;
  int number = 0;  // of its table; unique among those in banyan.applied_chunks
  Cut cut = Cut::kWhole;
  std::int64_t from_page = 0;
  std::int64_t to_page = 0;  // 0: open end
  std::string key_column;
  KeyRange keys;
};

struct ChunkKey {
  std::string column;
  KeyOrder order = KeyOrder::kBytes;
};

// The column by which a table can be cut: leads its replica key (else its primary key), and its
// order is one that we know: whole numbers, uuid, text of collation "C".
std::optional<ChunkKey> chunk_key(const Table& table);

// What `gaps` (of everything that is to be copied) are cut into, about `bytes` each.
Result<std::vector<Chunk>> cut_by_keys(pg::Connection& source, const Table& table,
                                       const ChunkKey& key, const std::vector<KeyRange>& gaps,
                                       std::int64_t bytes);
std::vector<Chunk> cut_by_pages(const Table& table, std::int64_t bytes);
Chunk whole_chunk(const Table& table);

// `format`: text or binary, and further options of COPY behind a comma.
std::string copy_out_sql(const Chunk& chunk, const Mapping& mapping, std::string_view format);
std::string copy_in_sql(const Chunk& chunk, const Mapping& mapping, std::string_view format);
// The columns that travel, by their source names.
std::vector<const Column*> copied_columns(const Table& table, const Mapping& mapping);
// The table's name on the target, quoted.
std::string target_name(const Table& table, const Mapping& mapping);

// Whether a built-in type's binary form is the same in every version. Arrays and ranges count when
// what they contain does. Types with OIDs of their own inside (enums, composites, domains) do not.
bool has_stable_binary(std::uint32_t type);

}  // namespace banyan::replication
