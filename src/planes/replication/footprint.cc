#include "planes/replication/footprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <optional>

namespace banyan::replication {
namespace {

// Internal triggers are those of foreign keys, whose touches are known.
constexpr const char* kUsersAct = R"sql(
select exists (select 1 from pg_catalog.pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal
               and t.tgname !~ '^banyan_fence' and t.tgenabled = any ($2::"char"[]))
    or exists (select 1 from pg_catalog.pg_rewrite r where r.ev_class = c.oid
               and r.ev_enabled = any ($2::"char"[]))
from pg_catalog.pg_class c where c.oid = $1::oid)sql";

// One row a column of what must be unique, and of what is named elsewhere: which, the table it is
// about, the column there, the column here, whether equal values decide.
constexpr const char* kColumns = R"sql(
select 'u', i.indexrelid, i.indrelid, a.attname, a.attname,
       not i.indisexclusion and i.indexprs is null
from pg_catalog.pg_index i cross join lateral unnest(i.indkey::int2[]) with ordinality
       k(attnum, position)
left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
where i.indrelid = $1::oid and (i.indisunique or i.indisexclusion) and k.position <= {}
union all
select 'f', c.oid, c.confrelid, there.attname, here.attname, true
from pg_catalog.pg_constraint c cross join lateral unnest(c.conkey, c.confkey) k(own, other)
join pg_catalog.pg_attribute here on here.attrelid = c.conrelid and here.attnum = k.own
join pg_catalog.pg_attribute there on there.attrelid = c.confrelid and there.attnum = k.other
where c.conrelid = $1::oid and c.contype = 'f' and $2::boolean
order by 1, 2, 4)sql";

Touch mixed(Touch hash, Touch with) {
  hash = (hash ^ with) * 0x9E3779B97F4A7C15ULL;
  return hash ^ (hash >> 32);
}

std::optional<Touch> touch_of(const TableFootprint::Columns& columns, const pg::Tuple& row) {
  Touch hash = columns.seed;
  for (const std::size_t position : columns.positions) {
    if (position >= row.size() || row[position].kind != pg::CellKind::kText) return std::nullopt;
    hash = mixed(hash, std::hash<std::string_view>{}(row[position].bytes));
  }
  return hash;
}

void add_row(const std::vector<TableFootprint::Columns>& each, const pg::Tuple& row,
             std::vector<Touch>& out) {
  for (const auto& columns : each) {
    if (const auto touch = touch_of(columns, row)) out.push_back(*touch);
  }
}

bool meets_row(const std::vector<TableFootprint::Columns>& each, const pg::Tuple& row,
               const Touches& touches) {
  return std::ranges::any_of(each, [&](const auto& columns) {
    const auto touch = touch_of(columns, row);
    return touch && touches.contains(*touch);
  });
}

std::optional<std::size_t> position_of(const RowPlan& rows, std::string_view column) {
  const auto& fields = rows.fields();
  const auto at = std::ranges::find_if(fields, [&](const RowPlan::Field& field) {
    return field.is_written && field.name == column;
  });
  if (at == fields.end()) return std::nullopt;
  return static_cast<std::size_t>(at - fields.begin());
}

TableFootprint::Columns replica_key(const RowPlan& rows) {
  auto names = rows.key_columns();
  std::ranges::sort(names);
  TableFootprint::Columns key{.seed = seed_of(rows.table().oid, names), .positions = {}};
  for (const auto& name : names) {
    const auto at = std::ranges::find(rows.fields(), name, &RowPlan::Field::name);
    key.positions.push_back(static_cast<std::size_t>(at - rows.fields().begin()));
  }
  return key;
}

}  // namespace

Touch seed_of(std::uint32_t table, std::vector<std::string> columns) {
  std::ranges::sort(columns);
  Touch seed = mixed(table, 1);
  for (const auto& column : columns) seed = mixed(seed, std::hash<std::string>{}(column));
  return seed;
}

Result<TableFootprint> TableFootprint::read(pg::Connection& catalog, const RowPlan& rows,
                                            SetPlan::Role role) {
  const bool is_replica = role == SetPlan::Role::kReplica;
  const auto oid = std::to_string(rows.table().oid);
  TableFootprint out(Grain::kRows, seed_of(rows.table().oid, {}), {}, {});
  TRY(const auto acts, catalog.query(kUsersAct, {oid, is_replica ? "{R,A}" : "{O,A}"}));
  if (acts.empty() || acts.boolean(0, 0)) out.grain_ = Grain::kAlone;
  const auto* width = catalog.server_version() >= 110000 ? "i.indnkeyatts" : "i.indnatts";
  TRY(const auto found, catalog.query(fmt::format(kColumns, width), {oid, is_replica ? "f" : "t"}));
  struct Group {
    bool is_foreign = false;
    std::uint32_t table = 0;
    std::vector<std::string> there;
    Columns columns{};
  };
  std::map<std::int64_t, Group> groups;
  for (std::size_t row = 0; row < found.size(); ++row) {
    const auto position = position_of(rows, found.text(row, 4));
    const bool is_foreign = found.text(row, 0) == "f";
    if ((!position || !found.boolean(row, 5)) && out.grain_ == Grain::kRows) {
      out.grain_ = Grain::kTable;
    }
    auto& group = groups[found.integer(row, 1)];
    group.is_foreign = is_foreign;
    group.table = static_cast<std::uint32_t>(found.integer(row, 2));
    group.there.push_back(found.str(row, 3));
    group.columns.positions.push_back(position.value_or(0));
  }
  if (!rows.key().empty()) out.written_.push_back(replica_key(rows));
  for (auto& [id, group] : groups) {
    group.columns.seed = seed_of(group.table, group.there);
    auto& list = group.is_foreign ? out.named_ : out.written_;
    if (rows.key().empty() && !group.is_foreign) continue;
    if (std::ranges::find(list, group.columns.seed, &Columns::seed) == list.end()) {
      list.push_back(std::move(group.columns));
    }
  }
  return out;
}

void TableFootprint::add(const Change& change, Footprint& out) const {
  if (grain_ != Grain::kRows || (!has_key() && change.operation != Operation::kInsert)) {
    out.writes.push_back(table_);
  } else if (!has_key()) {
    out.reads.push_back(table_);
  }
  for (const auto* row : {&change.old_row, &change.row}) {
    add_row(written_, *row, out.writes);
    add_row(named_, *row, out.reads);
  }
}

bool TableFootprint::meets(const NetChange& net, const Touches& touches) const {
  if ((grain_ != Grain::kRows || !has_key()) && touches.contains(table_)) return true;
  const auto meets_one = [&](const pg::Tuple* row) {
    return row != nullptr &&
           (meets_row(written_, *row, touches) || meets_row(named_, *row, touches));
  };
  return meets_one(net.key) || meets_one(net.row);
}

}  // namespace banyan::replication
