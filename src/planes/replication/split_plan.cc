#include "planes/replication/split_plan.h"

#include <fmt/format.h>

namespace banyan::replication {
namespace {

// Tables of the user, with whether they move and a pattern that finds their name in a text.
constexpr std::string_view kTables = R"sql(
with t as (select c.oid, n.nspname || '.' || c.relname as display,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) as qualified,
    c.oid = any ('{{{0}}}'::oid[]) as moves,
    '\m' || regexp_replace(c.relname, '([^[:alnum:]_])', '\\\1', 'g') || '\M' as pattern
  from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p') and n.nspname !~ '^pg_'
    and n.nspname not in ('information_schema', 'banyan'))
)sql";

// Each answer: object, detail, statement of the first way, statement of the last; what a dump of
// the moved tables calls it (empty: it is no part of one); tables of the other side, one a line.
constexpr std::string_view kForeignKeys = R"sql(
select k.conname || ' of ' || a.display, case when a.moves then 'points to ' || b.display ||
    ', which stays' else a.display || ' stays and points to ' || b.display || ', which moves' end,
  '', 'alter table ' || a.qualified || ' drop constraint ' || quote_ident(k.conname) || ';',
  case when a.moves then 'FK CONSTRAINT ' || a.display || ' ' || k.conname else '' end,
  case when a.moves then b.display else a.display end
from pg_catalog.pg_constraint k join t a on a.oid = k.conrelid join t b on b.oid = k.confrelid
where k.contype = 'f' and k.conparentid = 0 and a.moves <> b.moves order by 1)sql";

constexpr std::string_view kViews = R"sql(
select v.oid::pg_catalog.regclass::text, 'reads ' || string_agg(distinct t.display, ', ') filter
    (where t.moves) || coalesce(', and ' || string_agg(distinct t.display, ', ') filter
    (where not t.moves) || ', which stays', ''),
  'create ' || case v.relkind when 'm' then 'materialized ' else '' end || 'view ' ||
    v.oid::pg_catalog.regclass || ' as ' || pg_catalog.pg_get_viewdef(v.oid),
  'drop ' || case v.relkind when 'm' then 'materialized ' else '' end || 'view ' ||
    v.oid::pg_catalog.regclass || ';', '',
  coalesce(string_agg(distinct t.display, E'\n') filter (where not t.moves), '')
from pg_catalog.pg_class v join pg_catalog.pg_rewrite r on r.ev_class = v.oid
join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
  and d.objid = r.oid and d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
join t on t.oid = d.refobjid
where v.relkind in ('v', 'm') group by v.oid, v.relkind having bool_or(t.moves) order by 1)sql";

constexpr std::string_view kFunctions = R"sql(
select p.oid::pg_catalog.regprocedure::text, 'names ' || string_agg(distinct t.display, ', ')
    filter (where t.moves) || coalesce(', and ' || string_agg(distinct t.display, ', ')
    filter (where not t.moves) || ', which stays', ''),
  pg_catalog.pg_get_functiondef(p.oid), '', '',
  coalesce(string_agg(distinct t.display, E'\n') filter (where not t.moves), '')
from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
join t on p.prosrc ~* t.pattern
where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'banyan')
  and p.prokind in ('f', 'p') group by p.oid having bool_or(t.moves) order by 1)sql";

constexpr std::string_view kTriggers = R"sql(
select g.tgname || ' on ' || o.display,
  'runs ' || p.oid::pg_catalog.regprocedure || ', which names ' ||
    string_agg(distinct t.display, ', ') || case when o.moves then ', which stays' else
    ', which moves' end, pg_catalog.pg_get_functiondef(p.oid),
  'drop trigger ' || quote_ident(g.tgname) || ' on ' || o.qualified || ';',
  case when o.moves then 'TRIGGER ' || o.display || ' ' || g.tgname else '' end, ''
from pg_catalog.pg_trigger g join t o on o.oid = g.tgrelid
join pg_catalog.pg_proc p on p.oid = g.tgfoid join t on p.prosrc ~* t.pattern
where not g.tgisinternal and g.tgname !~ '^banyan_fence' and t.moves <> o.moves
group by g.tgname, o.display, o.qualified, o.moves, p.oid order by 1)sql";

constexpr std::string_view kPolicies = R"sql(
select p.polname || ' of ' || o.display, 'names ' || string_agg(distinct t.display, ', ') ||
    ', which stays', '', 'drop policy ' || quote_ident(p.polname) || ' on ' || o.qualified || ';',
  'POLICY ' || o.display || ' ' || p.polname, string_agg(distinct t.display, E'\n')
from pg_catalog.pg_policy p join t o on o.oid = p.polrelid join t on
  (coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), '') || ' ' ||
   coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), '')) ~* t.pattern
where o.moves and not t.moves group by p.polname, o.display, o.qualified order by 1)sql";

// A default that takes from a sequence which does not come along, or which others take from too.
constexpr std::string_view kSequences = R"sql(
select s.oid::pg_catalog.regclass::text, 'is used by ' || string_agg(distinct t.display, ', ')
  filter (where t.moves) || coalesce(', and ' || string_agg(distinct t.display, ', ')
  filter (where not t.moves) || ', which stays', '')
    || coalesce('; is owned by ' || min(o.display), ''),
  'create sequence ' || s.oid::pg_catalog.regclass || ';', '', '', ''
from pg_catalog.pg_class s
join pg_catalog.pg_depend d on d.refobjid = s.oid and d.refclassid =
  'pg_catalog.pg_class'::pg_catalog.regclass and d.classid =
  'pg_catalog.pg_attrdef'::pg_catalog.regclass
join pg_catalog.pg_attrdef a on a.oid = d.objid join t on t.oid = a.adrelid
left join pg_catalog.pg_depend w on w.objid = s.oid and w.classid =
  'pg_catalog.pg_class'::pg_catalog.regclass and w.deptype in ('a', 'i')
left join t o on o.oid = w.refobjid
where s.relkind = 'S' group by s.oid
having bool_or(t.moves) and (bool_or(not t.moves) or min(o.oid) is null or bool_or(not o.moves))
order by 1)sql";

constexpr std::string_view kQueries = R"sql(
select left(regexp_replace(q.query, '\s+', ' ', 'g'), 200),
  'called ' || q.calls || ' times; joins ' ||
  string_agg(distinct t.display, ', ') filter (where t.moves) || ' with ' ||
  string_agg(distinct t.display, ', ') filter (where not t.moves), '', ''
from {} q join t on q.query ~* t.pattern
where q.dbid = (select oid from pg_catalog.pg_database where datname = current_database())
  and q.query !~* 'banyan'
  and q.query !~* '^\s*(copy|create|alter|drop|grant|truncate|vacuum|analyze|lock)\M'
group by q.query, q.calls having bool_or(t.moves) and bool_or(not t.moves)
order by q.calls desc limit 50)sql";

struct Ways {
  std::string_view kind;
  std::string_view sql;
  std::vector<SplitDecision> decisions;  // the first and the last have statements
};

const std::vector<Ways>& all_ways() {
  static const SplitDecision kMoveToo{kMoveTooWay, "the tables of the other side move as well", ""};
  static const SplitDecision kCopy{
      kCopyWay, "the tables that stay are copied, followed for ever, and only read there", ""};
  static const std::vector<Ways> kWays = {
      {"foreign_key",
       kForeignKeys,
       {kMoveToo,
        kCopy,
        {kLeaveOutWay, "the new database has no such key; the application checks it", ""}}},
      {"view",
       kViews,
       {{"recreate", "create it in the new database, when all that it reads is there", ""},
        kCopy,
        {"rewrite", "drop it, and let its readers ask the service", ""}}},
      {"function",
       kFunctions,
       {{"recreate", "is brought along as it is; works when all that it names is there", ""},
        kCopy,
        {"rewrite", "write it anew without the tables that are not there", ""}}},
      {"trigger",
       kTriggers,
       {{"rewrite", "write its function anew without the other side's tables", ""},
        {kLeaveOutWay, "the new database has no such trigger; the application does its work", ""}}},
      {"policy",
       kPolicies,
       {kMoveToo, kCopy, {"rewrite", "left out; write it anew without these tables", ""}}},
      {"sequence",
       kSequences,
       {{"recreate", "create it in the new database before the migration, and set it ahead", ""},
        {"rewrite", "give each table a sequence of its own", ""}}},
  };
  return kWays;
}

TableNames lines_of(std::string_view text) {
  TableNames lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return lines;
}

Result<void> add_crossings(pg::Connection& source, const Ways& ways, const std::string& with,
                           std::vector<Crossing>& crossings) {
  TRY(const auto rows, with_context(source.query(with + std::string(ways.sql)),
                                    fmt::format("looking for every {}", ways.kind)));
  for (std::size_t row = 0; row < rows.size(); row++) {
    Crossing crossing{.kind = std::string(ways.kind),
                      .object = rows.str(row, 0),
                      .detail = rows.str(row, 1),
                      .decisions = ways.decisions,
                      .dumped_as = rows.str(row, 4),
                      .others = lines_of(rows.str(row, 5))};
    crossing.decisions.front().sql = rows.str(row, 2);
    crossing.decisions.back().sql = rows.str(row, 3);
    // What stays and points to what moves: its copy is the one that is left, until it is closed.
    const bool has_copy =
        !crossing.others.empty() && (crossing.kind != "foreign_key" || !crossing.dumped_as.empty());
    if (!has_copy)
      std::erase_if(crossing.decisions, [](const auto& way) { return way.decision == kCopyWay; });
    crossings.push_back(std::move(crossing));
  }
  return {};
}

// Best effort: without the extension, or the right to read it, there is nothing to tell.
Result<void> add_queries(pg::Connection& source, const std::string& with,
                         std::vector<Crossing>& crossings) {
  TRY(const auto where,
      source.query("select quote_ident(n.nspname) || '.pg_stat_statements' from "
                   "pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = "
                   "e.extnamespace where e.extname = 'pg_stat_statements'"));
  if (where.empty()) return {};
  auto rows = source.query(with + fmt::format(kQueries, where.str(0, 0)));
  for (std::size_t row = 0; rows && row < rows->size(); row++) {
    crossings.push_back(
        {.kind = "query",
         .object = rows->str(row, 0),
         .detail = rows->str(row, 1),
         .decisions = {{"rewrite", "ask both sides, and join in the application", ""},
                       {kMoveTooWay, "move what it joins", ""}},
         .dumped_as = "",
         .others = {}});
  }
  return {};
}

}  // namespace

Result<std::vector<Crossing>> find_crossings(pg::Connection& source, const TableNames& tables) {
  if (tables.empty()) {
    return std::unexpected(
        Error(Code::kInvalidArgument, "a split needs the tables that move")
            .with_remedy("List them under move.database.tables of the migration."));
  }
  TRY(const auto moved, fenced_tables(source, tables));
  const auto with = fmt::format(kTables, oid_list(moved));
  std::vector<Crossing> crossings;
  for (const auto& ways : all_ways()) TRY_VOID(add_crossings(source, ways, with, crossings));
  TRY_VOID(add_queries(source, with, crossings));
  return crossings;
}

}  // namespace banyan::replication
