#include "planes/replication/mapping.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

namespace banyan::replication {
namespace {

using nlohmann::json;

// One identifier from the front of `text`: quoted, or up to the next dot in small letters.
std::string take_identifier(std::string_view& text) {
  std::string name;
  const bool is_quoted = text.starts_with('"');
  std::size_t at = is_quoted ? 1 : 0;
  for (; at < text.size(); at++) {
    if (!is_quoted && text[at] == '.') break;
    if (is_quoted && text[at] == '"' && text.substr(at + 1, 1) != "\"") break;
    if (is_quoted && text[at] == '"') at++;
    name += is_quoted ? text[at]
                      : static_cast<char>(std::tolower(static_cast<unsigned char>(text[at])));
  }
  text.remove_prefix(std::min(text.size(), at + (is_quoted ? 1 : 0)));
  return name;
}

std::pair<std::string, std::string> parts_of(TableName name) {
  return {std::move(name.schema), std::move(name.table)};
}

std::unexpected<Error> invalid(const std::string& what) {
  return std::unexpected(
      Error(Code::kInvalidArgument, "map: " + what)
          .with_remedy("Write for each table: {table, to?, columns?: {here: there}, without?: "
                       "[column], where?: condition}."));
}

Result<void> read_columns(const json& entry, TableMapping& out) {
  for (const auto& [here, there] : entry.value("columns", json::object()).items()) {
    if (!there.is_string()) return invalid("a column's new name is no text");
    out.renamed[here] = there.get<std::string>();
  }
  for (const auto& column : entry.value("without", json::array())) {
    if (!column.is_string()) return invalid("a column's name is no text");
    out.left_out.push_back(column.get<std::string>());
  }
  for (const auto& [here, there] : out.renamed) {
    if (!out.has_column(here)) return invalid(here + " is renamed and left out");
  }
  return {};
}

Result<TableMapping> read_table(const json& entry) {
  if (!entry.is_object() || !entry.contains("table")) return invalid("an entry names no table");
  for (const auto& [key, value] : entry.items()) {
    static const std::set<std::string> kKnown{"table", "to", "columns", "without", "where"};
    if (!kKnown.contains(key)) return invalid("unknown key " + key);
    const bool is_text = key != "columns" && key != "without";
    if (is_text && !value.is_string()) return invalid(key + " is no text");
    if (key == "columns" && !value.is_object()) return invalid("columns is no object");
    if (key == "without" && !value.is_array()) return invalid("without is no list");
  }
  TableMapping table;
  const auto source = entry["table"].get<std::string>();
  std::tie(table.source_schema, table.source_table) = parts_of(parse_table_name(source));
  std::tie(table.target_schema, table.target_table) =
      parts_of(parse_table_name(entry.value("to", source)));
  table.where = entry.value("where", "");
  TRY_VOID(read_columns(entry, table));
  return table;
}

}  // namespace

std::string TableMapping::source_name() const {
  return pg::quote_qualified(source_schema, source_table);
}

std::string TableMapping::target_name() const {
  return pg::quote_qualified(target_schema, target_table);
}

bool TableMapping::has_column(std::string_view source_column) const {
  return std::ranges::find(left_out, source_column) == left_out.end();
}

std::string TableMapping::target_column(std::string_view source_column) const {
  const auto found = renamed.find(source_column);
  return found == renamed.end() ? std::string(source_column) : found->second;
}

Result<Mapping> Mapping::parse(const json& list) {
  Mapping mapping;
  if (list.is_null()) return mapping;
  if (!list.is_array()) return invalid("it is no list");
  std::set<std::string> targets;
  for (const auto& entry : list) {
    TRY(auto table, read_table(entry));
    const auto target = table.target_schema + "." + table.target_table;
    if (!targets.insert(target).second) return invalid("two tables become " + target);
    if (mapping.find(table.source_schema, table.source_table) != nullptr) {
      return invalid(table.source_table + " is named twice");
    }
    mapping.tables_.push_back(std::move(table));
  }
  return mapping;
}

const TableMapping* Mapping::find(std::string_view schema, std::string_view table) const {
  for (const auto& mapped : tables_) {
    if (mapped.source_schema == schema && mapped.source_table == table) return &mapped;
  }
  return nullptr;
}

bool Mapping::has_root_of(const FencedTable& table) const {
  if (table.root.empty()) return false;
  const auto root = parse_table_name(table.root);
  return find(root.schema, root.table) != nullptr;
}

std::vector<FencedTable> Mapping::moving(std::vector<FencedTable> tables) const {
  std::erase_if(tables, [this](const FencedTable& table) {
    if (!table.is_partitioned) return has_root_of(table);
    const auto name = parse_table_name(table.qualified);
    return !table.root.empty() || find(name.schema, name.table) == nullptr;
  });
  return tables;
}

TableMapping Mapping::of(std::string_view schema, std::string_view table) const {
  if (const auto* found = find(schema, table)) return *found;
  TableMapping same;
  same.source_schema = same.target_schema = schema;
  same.source_table = same.target_table = table;
  return same;
}

Mapping Mapping::reversed() const {
  Mapping back;
  for (const auto& table : tables_) {
    TableMapping turned;
    turned.source_schema = table.target_schema;
    turned.source_table = table.target_table;
    turned.target_schema = table.source_schema;
    turned.target_table = table.source_table;
    turned.where = table.where_there;
    turned.where_there = table.where;
    for (const auto& [here, there] : table.renamed) turned.renamed[there] = here;
    back.tables_.push_back(std::move(turned));
  }
  return back;
}

TableNames Mapping::names_there(const TableNames& tables) const {
  TableNames there;
  for (const auto& written : tables) {
    const auto name = parse_table_name(written);
    const auto* mapped = find(name.schema, name.table);
    there.push_back(mapped == nullptr ? written : mapped->target_name());
  }
  return there;
}

TableNames Direction::slices() const {
  TableNames names;
  for (const auto& table : mapping.tables()) {
    if (!table.where.empty()) names.push_back(table.source_name());
  }
  return names;
}

TableNames Direction::whole() const {
  TableNames names = from;
  std::erase_if(names, [this](const std::string& written) {
    const auto name = parse_table_name(written);
    const auto* mapped = mapping.find(name.schema, name.table);
    return mapped != nullptr && !mapped->where.empty();
  });
  return names;
}

TableName parse_table_name(std::string_view written) {
  auto first = take_identifier(written);
  if (!written.starts_with('.')) return {"public", std::move(first)};
  written.remove_prefix(1);
  return {std::move(first), take_identifier(written)};
}

}  // namespace banyan::replication
