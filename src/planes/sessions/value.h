#pragma once
// Value: what a session holds, independent of how it is written: the values JSON and Python's
// pickle have in common. Text is UTF-8 in which lone surrogates may appear (Python writes them).
//
// Integers are decimal text, so no size is lost. A dict keeps its order; `same` ignores it and
// compares keys as JSON spells them, because a session that went through JSON has text keys only.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace banyan::sessions {

struct Value {
  enum class Kind : std::uint8_t { kNone, kBool, kInteger, kFloat, kText, kBytes, kList, kDict };
  Kind kind = Kind::kNone;
  bool truth = false;
  double number = 0;
  std::string text;          // of kText and kBytes; the decimal digits of kInteger
  std::vector<Value> items;  // of kList; of kDict: key, value, key, value, ...
};

Value make_bool(bool truth);
Value make_integer(std::int64_t integer);
Value make_text(std::string text);

// Depth to which lists and dicts may nest, and values in one session; beyond is refused as corrupt.
inline constexpr int kDepthMax = 200;
inline constexpr std::size_t kValuesMax = 1'000'000;

bool same(const Value& a, const Value& b);

// How Python's json.dumps spells a dict's key: True as "true", 1 as "1".
std::string json_key(const Value& key);
// JSON as Python's json.loads reads it: NaN, Infinity, lone surrogates, integers of any size; bytes
// above 0x7f are Latin-1.
Result<Value> read_json(std::string_view json);
// As Python's json.dumps(..., separators=(",", ":")); bytes cannot be written.
Result<std::string> write_json(const Value& value);

// A pickle of protocol 2, which every Python 3 reads.
std::string write_pickle(const Value& value);
// Pickles of any protocol made of plain values. Whatever would import or call something is refused
// with kUnsupported: nothing is ever executed.
Result<Value> read_pickle(std::string_view pickle);

}  // namespace banyan::sessions
