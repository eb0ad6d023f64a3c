#include "planes/replication/mapping_checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "planes/replication/catalog.h"
#include "planes/replication/fence.h"

namespace banyan::replication {
namespace {

struct MappedTable {
  const TableMapping* mapping;
  std::optional<Table> here;  // on the source
};

// What one check finds wrong with one table: sentences, and statements that repair it.
struct Trouble {
  std::vector<std::string> what;
  std::string fix;
};

// A column's name can only be judged where there is a table.
using Look = std::function<Trouble(const TableMapping&, const Table&)>;

struct Check {
  std::string id;
  Severity severity;
  std::string title;
  Look look;
};

Finding finding_of(const Check& check, const std::vector<MappedTable>& tables) {
  Finding finding{check.id, check.severity, check.title, "", "", true};
  for (const auto& table : tables) {
    if (!table.here) continue;
    const auto trouble = check.look(*table.mapping, *table.here);
    for (const auto& what : trouble.what) {
      finding.detail +=
          fmt::format("{}{}: {}", finding.detail.empty() ? "" : "; ", table.here->display(), what);
    }
    finding.fix_sql += trouble.fix;
  }
  finding.ok = finding.detail.empty();
  return finding;
}

// The first column of each row; a question that cannot be asked is a trouble of its own.
Trouble troubles_of(const Result<pg::Rows>& rows) {
  if (!rows) return {{"could not be asked: " + rows.error().message()}, ""};
  Trouble trouble;
  for (std::size_t row = 0; row < rows->size(); row++) {
    trouble.what.push_back(rows->str(row, 0));
    if (rows->columns() > 1 && !rows->is_null(row, 1)) trouble.fix += rows->str(row, 1) + ";\n";
  }
  return trouble;
}

std::string left_out_list(const TableMapping& mapping) {
  std::string list;
  for (const auto& column : mapping.left_out) {
    list += (list.empty() ? "" : ", ") + pg::quote_literal(column);
  }
  return "array[" + list + "]::text[]";
}

// Numbers of the left-out columns of {0}, for catalogs that name columns by them.
std::string left_out_numbers(const TableMapping& mapping, const Table& table) {
  return fmt::format(
      "(select attnum from pg_catalog.pg_attribute where attrelid = {} and attname = any ({}))",
      table.oid, left_out_list(mapping));
}

Trouble unknown_columns(const TableMapping& mapping, const Table& table) {
  Trouble trouble;
  const auto look = [&](const std::string& name) {
    if (table.column(name) != nullptr) return;
    std::string known;
    for (const auto& column : table.columns) {
      known += (known.empty() ? "" : ", ") + column.name;
    }
    trouble.what.push_back(fmt::format("has no column {}; it has {}", name, known));
  };
  for (const auto& [here, there] : mapping.renamed) look(here);
  for (const auto& column : mapping.left_out) look(column);
  return trouble;
}

Trouble taken_names(const TableMapping& mapping, const Table& table) {
  std::vector<std::string> there;
  for (const auto& column : table.columns) {
    if (mapping.has_column(column.name)) there.push_back(mapping.target_column(column.name));
  }
  std::ranges::sort(there);
  const auto twice = std::ranges::adjacent_find(there);
  if (twice == there.end()) return {};
  return {{fmt::format("two columns become {}", *twice)}, ""};
}

Trouble left_out_keys(const TableMapping& mapping, const Table& table) {
  if (mapping.left_out.empty()) return {};
  if (table.primary_key.empty()) {
    return {{"columns are left out and it has no primary key: two rows could become one"}, ""};
  }
  Trouble trouble;
  for (const auto& column : table.primary_key) {
    if (mapping.has_column(column)) continue;
    trouble.what.push_back(fmt::format("{} is left out and part of the primary key", column));
  }
  return trouble;
}

// Asked as copy, publication and constraint will ask; nothing stays.
Trouble bad_condition(pg::Connection& source, const TableMapping& mapping, const Table& table) {
  if (mapping.where.empty()) return {};
  if (source.server_version() < 150000) {
    return {{"a condition on rows needs a source of PostgreSQL 15 or newer"}, ""};
  }
  auto asked = source.exec(
      fmt::format("begin; alter table only {0} replica identity full; create publication "
                  "banyan_preflight for table only {0} where ({1}); {2} rollback",
                  table.qualified(), mapping.where,
                  row_test_sql("pg_temp.banyan_preflight", table.columns, mapping.where)));
  if (!asked) (void)source.exec("rollback");  // the failure itself is reported
  if (asked) return {};
  return {{fmt::format("where: {} is no condition to filter by: {}", mapping.where,
                       asked.error().message())},
          ""};
}

// A condition on what is not there could not be kept there.
Trouble condition_on_left_out(pg::Connection& source, const TableMapping& mapping,
                              const Table& table) {
  if (mapping.where.empty() || mapping.left_out.empty()) return {};
  std::string columns;
  for (const auto& column : table.columns) {
    if (!mapping.has_column(column.name)) continue;
    columns += (columns.empty() ? "" : ", ") + pg::quote_ident(column.name);
  }
  const auto asked = source.query(
      fmt::format("select 1 from (select {} from only {}) {} where ({}) limit 0", columns,
                  table.qualified(), pg::quote_ident(table.name), mapping.where));
  if (asked || !asked.error().message().contains("[42703]")) return {};
  return {{"where looks at a column that is left out"}, ""};
}

Trouble cannot_come_back(pg::Connection& source, const TableMapping& mapping, const Table& table) {
  return troubles_of(source.query(fmt::format(
      "select pg_catalog.format('%s is left out, not null and has no default: rows written after "
      "the switch could not come back', attname), pg_catalog.format('alter table {1} alter column "
      "%I drop not null', attname) from pg_catalog.pg_attribute where attrelid = {0} and "
      "attname = any ({2}) and attnotnull and not atthasdef and attidentity = ''",
      table.oid, table.qualified(), left_out_list(mapping))));
}

// What PostgreSQL would have to drop with the column: views, policies, generated columns.
Trouble dependents(pg::Connection& source, const TableMapping& mapping, const Table& table) {
  if (mapping.left_out.empty()) return {};
  return troubles_of(source.query(fmt::format(
      "select distinct pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) || "
      "' needs a column that is left out' from pg_catalog.pg_depend d where d.refclassid = "
      "'pg_catalog.pg_class'::regclass and d.refobjid = {0} and d.refobjsubid in {1} and d.deptype "
      "= 'n' and (d.classid in ('pg_catalog.pg_rewrite'::regclass, "
      "'pg_catalog.pg_policy'::regclass, "
      "'pg_catalog.pg_trigger'::regclass) or (d.classid = 'pg_catalog.pg_attrdef'::regclass and "
      "exists (select from pg_catalog.pg_attrdef g where g.oid = d.objid and g.adnum not in {1}))) "
      "order by 1",
      table.oid, left_out_numbers(mapping, table))));
}

Trouble lost_indexes(pg::Connection& source, const TableMapping& mapping, const Table& table) {
  if (mapping.left_out.empty()) return {};
  return troubles_of(source.query(fmt::format(
      "select distinct pg_catalog.pg_describe_object(d.classid, d.objid, 0) from "
      "pg_catalog.pg_depend d where d.refclassid = 'pg_catalog.pg_class'::regclass and "
      "d.refobjid = {} and d.refobjsubid in {} and d.deptype = 'a' and d.classid in "
      "('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_constraint'::regclass) and not exists "
      "(select from pg_catalog.pg_class s where s.oid = d.objid and s.relkind = 'S') order by 1",
      table.oid, left_out_numbers(mapping, table))));
}

// Rows move through a partitioned table by its name, wherever they lie below it.
Trouble partitioned(pg::Connection& db, const TableMapping& mapping, const Table& table) {
  Trouble trouble;
  if (!table.is_partitioned) return trouble;
  if (db.server_version() < 130000) {
    trouble.what.push_back("moving through a partitioned table needs PostgreSQL 13 or newer");
  }
  if (table.primary_key.empty()) {
    trouble.what.push_back("is partitioned and has no primary key to find its rows by");
  }
  if (!mapping.where.empty()) {
    trouble.what.push_back("is partitioned: conditions on its rows are not supported");
  }
  return trouble;
}

Trouble partitioned_there(pg::Connection& target, const TableMapping& mapping, const Table&) {
  const auto there = read_table(target, mapping.target_schema, mapping.target_table);
  return there ? partitioned(target, mapping, *there) : Trouble();
}

Trouble parts_changed(const TableMapping&, const Table& table) {
  if (!table.is_partitioned) return {};
  return {{"its rows move through it: until the switch do not truncate, attach, detach or drop "
           "single partitions with rows, the stream does not tell; delete the rows, or truncate "
           "the whole"},
          ""};
}

Trouble families(pg::Connection& source, const TableMapping&, const Table& table) {
  if (table.is_partitioned) return {};
  return troubles_of(source.query(fmt::format(
      "select case when inhrelid = {0} then 'it is a child of ' || inhparent::regclass else "
      "'it has the child ' || inhrelid::regclass end || ': names of columns and conditions would "
      "not stay in one table' from pg_catalog.pg_inherits where {0} in (inhrelid, inhparent)",
      table.oid)));
}

// Texts that name a table or column by its old name are not rewritten.
Trouble routines(pg::Connection& source, const TableMapping& mapping, const Table& table) {
  if (mapping.renamed.empty() && mapping.source_name() == mapping.target_name()) return {};
  return troubles_of(source.query(
      fmt::format(
          "select p.oid::regprocedure || ' speaks of ' || $1 from pg_catalog.pg_proc p join "
          "pg_catalog.pg_namespace n on n.oid = p.pronamespace where n.nspname !~ '^pg_' and "
          "n.nspname not in ('information_schema', 'banyan') and p.prosrc ~ ('\\m' || $1 || "
          "'\\M') order by 1"),
      {table.name}));
}

// A table that is there already must have what the mapping says.
Trouble made_by_hand(pg::Connection& target, const TableMapping& mapping, const Table& table) {
  const auto there = read_table(target, mapping.target_schema, mapping.target_table);
  if (!there && there.error().code() == Code::kNotFound) return {};
  if (!there) return {{there.error().message()}, ""};
  Trouble trouble;
  for (const auto& column : table.columns) {
    if (!mapping.has_column(column.name) || column.is_generated) continue;
    const auto name = mapping.target_column(column.name);
    if (there->column(name) != nullptr) continue;
    trouble.what.push_back(
        fmt::format("{} is on the target already and has no column {}", there->display(), name));
    trouble.fix += fmt::format("alter table {} add column {} {};\n", there->qualified(),
                               pg::quote_ident(name), column.type);
  }
  return trouble;
}

Trouble kept_rows(const TableMapping& mapping, const Table&) {
  if (mapping.where.empty()) return {};
  return {
      {"only the rows of the condition are fenced (TRUNCATE whole), the others stay writable; both "
       "sides then draw from their sequences, the new one from far ahead; until the migration "
       "is completed the new side refuses rows outside the condition (constraint banyan_rows), "
       "as they could not go back"},
      ""};
}

Finding unknown_tables(pg::Connection& source, const TableNames& tables, const Mapping& mapping,
                       std::vector<MappedTable>& found) {
  Finding finding{"map.tables", Severity::kMust, "Every mapped table is there and moves", "", "",
                  true};
  auto moved = read_tables(source, {tables, {}, mapping});
  for (const auto& table : mapping.tables()) {
    MappedTable mapped{&table, {}};
    for (const auto& here : moved ? *moved : std::vector<Table>()) {
      if (here.schema == table.source_schema && here.name == table.source_table) mapped.here = here;
    }
    if (!mapped.here) {
      finding.detail += fmt::format("{}{} is no permanent table that moves",
                                    finding.detail.empty() ? "" : "; ", table.source_name());
    }
    found.push_back(std::move(mapped));
  }
  if (!moved) finding.detail = "could not be asked: " + moved.error().message();
  finding.ok = finding.detail.empty();
  return finding;
}

}  // namespace

std::vector<Finding> mapping_checks(pg::Connection& source, pg::Connection& target,
                                    const TableNames& tables, const Mapping& mapping) {
  if (mapping.empty()) return {};
  using enum Severity;
  const auto ask = [](pg::Connection& db, auto question) -> Look {
    return [&db, question](const TableMapping& mapped, const Table& table) {
      return question(db, mapped, table);
    };
  };
  const std::vector<Check> checks = {
      {"map.columns", kMust, "Every mapped column is there", unknown_columns},
      {"map.names", kMust, "No two columns get one name", taken_names},
      {"map.where", kMust, "Conditions are SQL that a publication can filter by",
       ask(source, bad_condition)},
      {"map.where_columns", kMust, "Conditions look at columns that move",
       ask(source, condition_on_left_out)},
      {"map.key", kMust, "Keys move whole", left_out_keys},
      {"map.back", kMust, "What is left out can be filled on the way back",
       ask(source, cannot_come_back)},
      {"map.dependents", kMust, "Nothing needs a column that is left out", ask(source, dependents)},
      {"map.family", kMust, "Mapped tables stand alone", ask(source, families)},
      {"map.partitioned", kMust, "Rows can move through the source's partitioned tables",
       ask(source, partitioned)},
      {"map.partitioned_there", kMust, "Rows can move through the target's partitioned tables",
       ask(target, partitioned_there)},
      {"map.parts", kInfo, "Tables whose rows move through their root", parts_changed},
      {"map.target", kMust, "Tables made by hand have the mapped columns",
       ask(target, made_by_hand)},
      {"map.indexes", kShould, "Indexes and constraints on what is left out are left out too",
       ask(source, lost_indexes)},
      {"map.routines", kShould, "No routine names what gets another name", ask(source, routines)},
      {"map.rows", kInfo, "Tables with a condition", kept_rows},
  };
  std::vector<MappedTable> mapped;
  std::vector<Finding> findings{unknown_tables(source, tables, mapping, mapped)};
  for (const auto& check : checks) findings.push_back(finding_of(check, mapped));
  return findings;
}

}  // namespace banyan::replication
