#include "planes/sessions/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace banyan::sessions {
namespace {

using Kind = Value::Kind;

std::string float_text(double number) {
  if (std::isnan(number)) return "NaN";
  if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
  std::string text = fmt::format("{}", number);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

bool same_float(double a, double b) {
  return a == b || (std::isnan(a) && std::isnan(b));
}

// The entries of a dict by key; of equal keys the last one counts, as in Python.
std::map<std::string, const Value*> entries_of(const Value& dict) {
  std::map<std::string, const Value*> entries;
  for (std::size_t i = 0; i + 1 < dict.items.size(); i += 2)
    entries.insert_or_assign(json_key(dict.items[i]), &dict.items[i + 1]);
  return entries;
}

bool same_dict(const Value& a, const Value& b) {
  return std::ranges::equal(entries_of(a), entries_of(b), [](const auto& x, const auto& y) {
    return x.first == y.first && same(*x.second, *y.second);
  });
}

}  // namespace

Value make_bool(bool truth) {
  Value value;
  value.kind = Kind::kBool;
  value.truth = truth;
  return value;
}

Value make_integer(std::int64_t integer) {
  Value value;
  value.kind = Kind::kInteger;
  value.text = std::to_string(integer);
  return value;
}

Value make_text(std::string text) {
  Value value;
  value.kind = Kind::kText;
  value.text = std::move(text);
  return value;
}

std::string json_key(const Value& key) {
  switch (key.kind) {
    case Kind::kNone:
      return "null";
    case Kind::kBool:
      return key.truth ? "true" : "false";
    case Kind::kFloat:
      return float_text(key.number);
    default:
      return key.text;
  }
}

bool same(const Value& a, const Value& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kNone:
      return true;
    case Kind::kBool:
      return a.truth == b.truth;
    case Kind::kFloat:
      return same_float(a.number, b.number);
    case Kind::kInteger:
    case Kind::kText:
    case Kind::kBytes:
      return a.text == b.text;
    case Kind::kList:
      return std::ranges::equal(a.items, b.items, same);
    case Kind::kDict:
      return same_dict(a, b);
  }
  return false;
}

}  // namespace banyan::sessions
