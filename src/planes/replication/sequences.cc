#include "planes/replication/sequences.h"

#include <fmt/format.h>

#include <algorithm>

namespace banyan::replication {
namespace {

constexpr std::int64_t kHeadRoom = 1000;  // values
constexpr std::int64_t kApart = std::int64_t{1} << 40;

constexpr std::string_view kSequences = R"sql(
select pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname),
       s.seqincrement, s.seqmin, least(s.seqmax, case o.type when 21 then 32767
       when 23 then 2147483647 end), s.seqcycle, o.schema, o.name, o.attname
from pg_catalog.pg_sequence s
left join lateral (select tn.nspname, t.relname, a.attname, a.atttypid from pg_catalog.pg_depend d
  join pg_catalog.pg_class t on t.oid = d.refobjid
  join pg_catalog.pg_namespace tn on tn.oid = t.relnamespace
  join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum = d.refobjsubid
  where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = s.seqrelid
    and d.deptype in ('a', 'i') and d.refclassid = 'pg_catalog.pg_class'::regclass
  limit 1) o(schema, name, attname, type) on true
join pg_catalog.pg_class c on c.oid = s.seqrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname !~ '^pg_' and n.nspname <> 'banyan' and c.relpersistence <> 't' and {} order by 1
)sql";

// Reads the state of all in one round trip: every sequence is a relation of one row.
Result<void> read_values(pg::Connection& db, std::vector<SequenceValue>& sequences) {
  std::string sql;
  for (std::size_t index = 0; index < sequences.size(); index++) {
    sql += fmt::format("{}select {}, last_value, is_called from {}", index > 0 ? " union all " : "",
                       index, sequences[index].qualified);
  }
  if (sql.empty()) return {};
  TRY(const auto rows, db.query(sql));
  for (std::size_t row = 0; row < rows.size(); row++) {
    auto& sequence = sequences[static_cast<std::size_t>(rows.integer(row, 0))];
    sequence.last_value = rows.integer(row, 1);
    sequence.is_called = rows.boolean(row, 2);
  }
  return {};
}

bool is_behind(const SequenceValue& passive, const SequenceValue& active) {
  if (passive.last_value != active.last_value) {
    return (passive.last_value < active.last_value) == (active.increment > 0);
  }
  return active.is_called && !passive.is_called;
}

std::int64_t with_head_room(const SequenceValue& active, std::int64_t head_room) {
  std::int64_t step = 0;
  std::int64_t ahead = 0;
  const bool overflows = __builtin_mul_overflow(active.increment, head_room, &step) ||
                         __builtin_add_overflow(active.last_value, step, &ahead);
  const bool fits = !overflows && ahead <= active.max_value && ahead >= active.min_value;
  return fits && !active.cycles ? ahead : active.last_value;
}

// The sequence of the same name, or of the same column when its table is mapped.
const SequenceValue* counterpart(const SequenceValue& sequence, const TableMapping* mapped,
                                 const std::vector<SequenceValue>& there) {
  const auto found = std::ranges::find_if(there, [&](const SequenceValue& other) {
    if (mapped == nullptr) return other.qualified == sequence.qualified;
    return other.owner.schema == mapped->target_schema &&
           other.owner.table == mapped->target_table &&
           other.column == mapped->target_column(sequence.column);
  });
  return found == there.end() ? nullptr : &*found;
}

bool needs_apart(const SequenceValue& active, const SequenceValue& passive) {
  return is_behind(passive, active) || passive.last_value == active.last_value;
}

// Which part of a sequence this migration has, taking the next one when it has none.
constexpr std::string_view kTakePart = R"sql(
with mine as (select part from banyan.sequence_part where sequence = $1 and name = $2),
taken as (insert into banyan.sequence_part(sequence, name, part)
  select $1, $2, coalesce(max(part), 0) + 1 from banyan.sequence_part where sequence = $1
  having not exists (select 1 from mine) returning part)
select part from mine union all select part from taken)sql";

// `old_side` knows which slices draw from the sequence, and the rows that came back from them.
Result<SequenceValue> take_apart(pg::Connection& old_side, const std::string& migration,
                                 const SequenceValue& sequence) {
  TRY(const auto part, old_side.query_one(std::string(kTakePart), {sequence.qualified, migration}));
  TRY(const auto taken,
      old_side.query(fmt::format(
          "select coalesce({}(t.{})::bigint, {}) from {} t", sequence.increment > 0 ? "max" : "min",
          pg::quote_ident(sequence.column), sequence.last_value,
          pg::quote_qualified(sequence.owner.schema, sequence.owner.table))));
  return sequence_apart(sequence, taken.integer(0, 0), static_cast<int>(part.integer(0, 0)));
}

// The value to set there, or nothing.
Result<std::optional<SequenceValue>> fix_for(pg::Connection& active, const std::string& migration,
                                             const SequenceValue& here, const SequenceValue& there,
                                             const TableMapping* mapped) {
  const bool comes_back = mapped != nullptr && !mapped->where_there.empty();
  if (comes_back) return std::nullopt;  // both sides draw
  const bool is_slice = mapped != nullptr && !mapped->where.empty() && !here.cycles;
  if (!is_slice) return sequence_fix(here, there, kHeadRoom);
  if (!needs_apart(here, there)) return std::nullopt;
  TRY(auto apart, take_apart(active, migration, here));
  return apart;
}

}  // namespace

std::string sequence_condition(const TableNames& tables) {
  if (tables.empty()) return "true";
  std::string list;
  for (const auto& table : tables) {
    list += (list.empty() ? "" : ", ") + pg::quote_literal(table);
  }
  return fmt::format(
      "exists (select 1 from pg_catalog.pg_depend d where d.objid = c.oid and d.deptype in ('a', "
      "'i') "
      "and d.classid = 'pg_catalog.pg_class'::regclass "
      "and d.refobjid = any (array[{}]::pg_catalog.regclass[]))",
      list);
}

std::optional<SequenceValue> sequence_fix(const SequenceValue& active, const SequenceValue& passive,
                                          std::int64_t head_room) {
  // A cycling sequence has no "ahead": it is equal or it is not.
  const bool differs =
      active.last_value != passive.last_value || active.is_called != passive.is_called;
  if (active.cycles ? !differs : !is_behind(passive, active)) return std::nullopt;
  auto fix = active;
  if (active.is_called) fix.last_value = with_head_room(active, head_room);
  return fix;
}

SequenceValue sequence_apart(const SequenceValue& active, std::int64_t taken, int part) {
  const bool rises = active.increment > 0;
  const auto from = rises ? std::max(active.last_value, taken) : std::min(active.last_value, taken);
  std::int64_t room = 0;
  const bool overflows = rises ? __builtin_sub_overflow(active.max_value, from, &room)
                               : __builtin_sub_overflow(from, active.min_value, &room);
  if (overflows) room = INT64_MAX;
  const auto ahead = std::min(room - (room >> part), part * kApart);
  auto apart = active;
  apart.last_value = rises ? from + ahead : from - ahead;
  apart.is_called = true;
  return apart;
}

Result<std::vector<SequenceValue>> read_sequences(pg::Connection& db, const TableNames& tables) {
  TRY(const auto rows, db.query(fmt::format(kSequences, sequence_condition(tables))));
  std::vector<SequenceValue> sequences;
  for (std::size_t row = 0; row < rows.size(); row++) {
    SequenceValue sequence;
    sequence.qualified = rows.str(row, 0);
    sequence.increment = rows.integer(row, 1);
    sequence.min_value = rows.integer(row, 2);
    sequence.max_value = rows.integer(row, 3);
    sequence.cycles = rows.boolean(row, 4);
    if (!rows.is_null(row, 5)) sequence.owner = {rows.str(row, 5), rows.str(row, 6)};
    if (!rows.is_null(row, 7)) sequence.column = rows.str(row, 7);
    sequences.push_back(std::move(sequence));
  }
  TRY_VOID(read_values(db, sequences));
  return sequences;
}

Result<SequenceReport> carry_sequences(pg::Connection& active, pg::Connection& passive,
                                       const std::string& migration, const Direction& direction) {
  TRY(const auto from, read_sequences(active, direction.from));
  TRY(const auto to, read_sequences(passive, direction.to));
  std::string sql;
  SequenceReport report;
  for (const auto& sequence : from) {
    const auto* mapped = direction.mapping.find(sequence.owner.schema, sequence.owner.table);
    if (mapped != nullptr && !mapped->has_column(sequence.column)) continue;
    const auto* there = counterpart(sequence, mapped, to);
    if (there == nullptr) {
      return failure(Code::kNotFound, "the passive side has no sequence " + sequence.qualified);
    }
    report.count++;
    TRY(const auto fix, fix_for(active, migration, sequence, *there, mapped));
    if (!fix) continue;
    sql += fmt::format("select pg_catalog.setval({}, {}, {});", pg::quote_literal(there->qualified),
                       fix->last_value, fix->is_called);
    report.fixed++;
  }
  if (!sql.empty()) TRY_VOID(passive.exec(sql));
  return report;
}

}  // namespace banyan::replication
