#include "planes/replication/set_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

namespace banyan::replication {
namespace {

using pg::CellKind;
using Element = SetPlan::Element;

// One row a column: its type without limits, its collation when it differs from the type's, and
// whether somebody's own cast from text would be taken instead of the type's input.
constexpr const char* kValues = R"sql(
select a.attname, pg_catalog.format_type(a.atttypid, -1), a.atttypid,
       case when a.attcollation <> t.typcollation
            then pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.collname) end,
       exists (select 1 from pg_catalog.pg_cast k where k.castsource = 'pg_catalog.text'::regtype
               and k.casttarget in (t.oid, t.typbasetype) and k.castmethod = 'f'
               and k.casttarget >= 16384)
from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_collation c on c.oid = a.attcollation
left join pg_catalog.pg_namespace n on n.oid = c.collnamespace
where a.attrelid = $1::oid and a.attnum > 0 and not a.attisdropped)sql";

constexpr const char* kActs = R"sql(
select exists (select 1 from pg_catalog.pg_trigger t where t.tgrelid = c.oid
               and t.tgname !~ '^banyan_fence' and t.tgenabled = any ($2::"char"[]))
    or exists (select 1 from pg_catalog.pg_rewrite r where r.ev_class = c.oid
               and r.ev_enabled = any ($2::"char"[]))
from pg_catalog.pg_class c where c.oid = $1::oid)sql";

struct ElementType {
  std::uint32_t oid;
  const char* name;
};

ElementType type_of(Element element) {
  switch (element) {
    case Element::kInt2:
      return {21, "int2[]"};
    case Element::kInt4:
      return {23, "int4[]"};
    case Element::kInt8:
      return {20, "int8[]"};
    case Element::kBool:
      return {16, "bool[]"};
    case Element::kUuid:
      return {2950, "uuid[]"};
    case Element::kText:
      break;
  }
  return {25, "text[]"};
}

Element element_of(std::uint32_t type_id) {
  for (const auto element :
       {Element::kInt2, Element::kInt4, Element::kInt8, Element::kBool, Element::kUuid}) {
    if (type_of(element).oid == type_id) return element;
  }
  return Element::kText;
}

template <class T>
void put(std::string& out, T value) {
  for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8) {
    out += static_cast<char>(static_cast<std::uint64_t>(value) >> shift & 0xFF);
  }
}

template <class T>
bool put_integer(std::string& out, std::string_view text) {
  T value{};
  const auto* end = text.data() + text.size();
  const auto [stopped, trouble] = std::from_chars(text.data(), end, value);
  if (trouble != std::errc() || stopped != end) return false;
  put<std::int32_t>(out, sizeof(T));
  put<std::make_unsigned_t<T>>(out, static_cast<std::make_unsigned_t<T>>(value));
  return true;
}

bool put_uuid(std::string& out, std::string_view text) {
  put<std::int32_t>(out, 16);
  std::size_t digits = 0;
  unsigned high = 0;
  for (const char c : text) {
    if (c == '-') continue;
    const bool is_number = c >= '0' && c <= '9';
    if (!is_number && (c < 'a' || c > 'f')) return false;
    const unsigned digit = static_cast<unsigned>(is_number ? c - '0' : c - 'a' + 10);
    if (digits++ % 2 == 1) out += static_cast<char>(high << 4 | digit);
    high = digit;
  }
  return digits == 32;
}

bool put_bool(std::string& out, std::string_view text) {
  put<std::int32_t>(out, 1);
  out += text == "t" ? '\1' : '\0';
  return text == "t" || text == "f";
}

bool put_text(std::string& out, std::string_view text) {
  put<std::int32_t>(out, static_cast<std::int32_t>(text.size()));
  out += text;
  return true;
}

bool put_element(std::string& out, Element element, std::string_view text) {
  switch (element) {
    case Element::kInt2:
      return put_integer<std::int16_t>(out, text);
    case Element::kInt4:
      return put_integer<std::int32_t>(out, text);
    case Element::kInt8:
      return put_integer<std::int64_t>(out, text);
    case Element::kBool:
      return put_bool(out, text);
    case Element::kUuid:
      return put_uuid(out, text);
    case Element::kText:
      break;
  }
  return put_text(out, text);
}

// As COPY's text format writes them; everything else stands for itself.
std::string_view escape(char c) {
  switch (c) {
    case '\\':
      return "\\\\";
    case '\n':
      return "\\n";
    case '\r':
      return "\\r";
    case '\t':
      return "\\t";
    default:
      return {};
  }
}

void append_escaped(std::string& out, std::string_view text) {
  constexpr std::string_view kSpecial("\\\n\r\t");
  while (true) {
    const auto at = text.find_first_of(kSpecial);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return;
    out += escape(text[at]);
    text.remove_prefix(at + 1);
  }
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  return fmt::format("{}", fmt::join(parts, separator));
}

bool is_simple(const RowPlan& rows) {
  const auto is_written = [](const RowPlan::Field& field) { return field.is_written; };
  if (std::ranges::none_of(rows.fields(), is_written)) return false;
  return std::ranges::none_of(rows.fields(), [](const RowPlan::Field& field) {
    return field.is_always_identity && !field.is_key;
  });
}

}  // namespace

Result<std::string> encode_array(Element element, const std::vector<const pg::Cell*>& cells) {
  const bool has_null = std::ranges::any_of(
      cells, [](const pg::Cell* cell) { return cell->kind != CellKind::kText; });
  std::string out;
  std::size_t bytes = 20;
  for (const auto* cell : cells) bytes += 4 + std::max<std::size_t>(8, cell->bytes.size());
  out.reserve(bytes);
  put<std::int32_t>(out, 1);
  put<std::int32_t>(out, has_null ? 1 : 0);
  put<std::uint32_t>(out, type_of(element).oid);
  put<std::uint32_t>(out, static_cast<std::uint32_t>(cells.size()));
  put<std::int32_t>(out, 1);
  for (const auto* cell : cells) {
    if (cell->kind == CellKind::kText) {
      if (put_element(out, element, cell->bytes)) continue;
      return failure(Code::kCorruption, "a value in the stream does not have its column's form");
    }
    put<std::int32_t>(out, -1);
  }
  return out;
}

Result<std::optional<SetPlan>> SetPlan::read(pg::Connection& catalog, const RowPlan& rows,
                                             Role role) {
  if (!is_simple(rows)) return std::optional<SetPlan>();
  const auto oid = std::to_string(rows.table().oid);
  TRY(const auto acts,
      catalog.query(kActs, {oid, std::string(role == Role::kReplica ? "{R,A}" : "{O,A}")}));
  if (acts.empty() || acts.boolean(0, 0)) return std::optional<SetPlan>();
  TRY(const auto columns, catalog.query(kValues, {oid}));
  std::map<std::string, Value, std::less<>> by_name;
  for (std::size_t row = 0; row < columns.size(); ++row) {
    if (columns.boolean(row, 4)) return std::optional<SetPlan>();
    by_name[columns.str(row, 0)] = {
        .element = element_of(static_cast<std::uint32_t>(columns.integer(row, 2))),
        .type = columns.str(row, 1),
        .collation = columns.str(row, 3)};
  }
  std::vector<Value> values;
  for (const auto& field : rows.fields()) values.push_back(by_name[field.name]);
  return std::optional<SetPlan>(SetPlan(rows, std::move(values)));
}

std::vector<SetPlan::Use> SetPlan::keys() const {
  std::vector<Use> uses;
  for (const std::size_t position : rows_->key()) uses.push_back({position, true});
  return uses;
}

std::vector<SetPlan::Use> SetPlan::written() const {
  std::vector<Use> uses;
  const auto& fields = rows_->fields();
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].is_written) uses.push_back({i, false});
  }
  return uses;
}

Result<std::vector<std::string>> SetPlan::encode(const Rows& rows,
                                                 const std::vector<Use>& uses) const {
  std::vector<std::string> arrays;
  std::vector<const pg::Cell*> cells(rows.size());
  for (const auto& use : uses) {
    std::ranges::transform(rows, cells.begin(), [&](const NetChange* change) {
      return &(use.is_key ? *change->key : *change->row)[use.position];
    });
    TRY(auto array, encode_array(values_[use.position].element, cells));
    arrays.push_back(std::move(array));
  }
  return arrays;
}

// unnest($1::int8[], $2::text[]) as u(c0, c1)
std::string SetPlan::source(const std::vector<Use>& uses) const {
  std::vector<std::string> arrays;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    arrays.push_back(
        fmt::format("${}::{}", i + 1, type_of(values_[uses[i].position].element).name));
    names.push_back(fmt::format("c{}", i));
  }
  return fmt::format("unnest({}) as u({})", joined(arrays, ", "), joined(names, ", "));
}

std::string SetPlan::value(std::size_t use, std::size_t position) const {
  const auto& value = values_[position];
  if (value.element != Element::kText || value.type == "text") return fmt::format("u.c{}", use);
  return fmt::format("u.c{}::{}", use, value.type);
}

std::string SetPlan::match() const {
  std::vector<std::string> parts;
  const auto& key = rows_->key();
  for (std::size_t i = 0; i < key.size(); ++i) {
    const auto& collation = values_[key[i]].collation;
    parts.push_back(fmt::format("t.{} = {}{}", rows_->fields()[key[i]].quoted, value(i, key[i]),
                                collation.empty() ? "" : " collate " + collation));
  }
  return joined(parts, " and ");
}

Result<SetStatement> SetPlan::remove(const Rows& rows, Text text) const {
  SetStatement out{.shape = "d", .sql = {}, .arrays = {}, .rows = rows.size()};
  TRY(out.arrays, encode(rows, keys()));
  if (text == Text::kNo) return out;
  out.sql = fmt::format("delete from {} t using {} where {}", rows_->table().exactly(),
                        source(keys()), match());
  return out;
}

Result<SetStatement> SetPlan::insert(const Rows& rows, Text text) const {
  SetStatement out{.shape = "i", .sql = {}, .arrays = {}, .rows = rows.size()};
  const auto uses = written();
  TRY(out.arrays, encode(rows, uses));
  if (text == Text::kNo) return out;
  std::vector<std::string> names;
  std::vector<std::string> selected;
  for (std::size_t i = 0; i < uses.size(); ++i) {
    names.push_back(rows_->fields()[uses[i].position].quoted);
    selected.push_back(value(i, uses[i].position));
  }
  out.sql = fmt::format("insert into {} ({}) overriding system value select {} from {}",
                        rows_->table().qualified(), joined(names, ", "), joined(selected, ", "),
                        source(uses));
  return out;
}

void SetPlan::update_shape(const NetChange& change, std::string& shape) const {
  const auto& fields = rows_->fields();
  shape.assign(fields.size() + 1, '0');
  shape[0] = 'u';
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const bool is_set = fields[i].is_written && !fields[i].is_key &&
                        (*change.row)[i].kind != CellKind::kUnchangedToast;
    if (is_set) shape[i + 1] = '1';
  }
}

Result<SetStatement> SetPlan::update(const Rows& rows, Text text) const {
  SetStatement out{.shape = {}, .sql = {}, .arrays = {}, .rows = rows.size()};
  update_shape(*rows[0], out.shape);
  auto uses = keys();
  for (std::size_t i = 1; i < out.shape.size(); ++i) {
    if (out.shape[i] == '1') uses.push_back({i - 1, false});
  }
  TRY(out.arrays, encode(rows, uses));
  if (text == Text::kNo) return out;
  std::vector<std::string> set;
  for (std::size_t i = rows_->key().size(); i < uses.size(); ++i) {
    set.push_back(fmt::format("{} = {}", rows_->fields()[uses[i].position].quoted,
                              value(i, uses[i].position)));
  }
  out.sql = fmt::format("update {} t set {} from {} where {}", rows_->table().exactly(),
                        joined(set, ", "), source(uses), match());
  return out;
}

std::string SetPlan::copy_sql() const {
  std::vector<std::string> names;
  for (const auto& use : written()) names.push_back(rows_->fields()[use.position].quoted);
  return fmt::format("copy {} ({}) from stdin", rows_->table().qualified(), joined(names, ", "));
}

void SetPlan::append_copy_row(std::string& out, const pg::Tuple& row, const RowPlan& plan) {
  bool is_first = true;
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (!plan.fields()[i].is_written) continue;
    if (!std::exchange(is_first, false)) out += '\t';
    if (row[i].kind == CellKind::kText) {
      append_escaped(out, row[i].bytes);
    } else {
      out += "\\N";
    }
  }
  out += '\n';
}

}  // namespace banyan::replication
