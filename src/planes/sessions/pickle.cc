// Python's pickle for plain values. Opcodes: Lib/pickletools.py of CPython.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <unordered_map>

#include "planes/sessions/value.h"

namespace banyan::sessions {
namespace {

using Kind = Value::Kind;

template <class T>
void append_little(std::string& out, T number) {
  for (std::size_t i = 0; i < sizeof(T); ++i) out += static_cast<char>(number >> (8 * i));
}

void write_integer(std::string& out, const std::string& digits) {
  std::int64_t number = 0;
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (parsed.ec != std::errc()) {
    out += "L" + digits + "L\n";
  } else if (number >= INT32_MIN && number <= INT32_MAX) {
    out += 'J';
    append_little(out, static_cast<std::uint32_t>(number));
  } else {
    out += "\x8a\x08";
    append_little(out, static_cast<std::uint64_t>(number));
  }
}

void write_float(std::string& out, double number) {
  out += 'G';
  const auto bits = std::bit_cast<std::uint64_t>(number);
  for (int shift = 56; shift >= 0; shift -= 8) out += static_cast<char>(bits >> shift);
}

void write_sized(std::string& out, char opcode, std::string_view bytes) {
  out += opcode;
  append_little(out, static_cast<std::uint32_t>(bytes.size()));
  out += bytes;
}

void write(std::string& out, const Value& value) {
  switch (value.kind) {
    case Kind::kNone:
      out += 'N';
      return;
    case Kind::kBool:
      out += value.truth ? '\x88' : '\x89';
      return;
    case Kind::kInteger:
      write_integer(out, value.text);
      return;
    case Kind::kFloat:
      write_float(out, value.number);
      return;
    case Kind::kText:
      write_sized(out, 'X', value.text);
      return;
    case Kind::kBytes:
      write_sized(out, 'B', value.text);
      return;
    case Kind::kList:
    case Kind::kDict:
      break;
  }
  const bool is_dict = value.kind == Kind::kDict;
  out += is_dict ? '}' : ']';
  if (value.items.empty()) return;
  out += '(';
  for (const Value& item : value.items) write(out, item);
  out += is_dict ? 'u' : 'e';
}

// Decimal digits of a little-endian two's complement number of any size.
std::string decimal_of(std::string_view little) {
  std::vector<std::uint8_t> bytes(little.begin(), little.end());
  const bool negative = !bytes.empty() && (bytes.back() & 0x80) != 0;
  int carry = 1;
  for (std::uint8_t& byte : bytes) {
    if (!negative) break;
    const int flipped = (~byte & 0xFF) + carry;
    byte = static_cast<std::uint8_t>(flipped);
    carry = flipped >> 8;
  }
  std::string digits;
  while (!bytes.empty()) {
    int rest = 0;
    for (std::size_t i = bytes.size(); i-- > 0;) {
      const int part = rest * 256 + bytes[i];
      bytes[i] = static_cast<std::uint8_t>(part / 10);
      rest = part % 10;
    }
    digits += static_cast<char>('0' + rest);
    while (!bytes.empty() && bytes.back() == 0) bytes.pop_back();
  }
  if (digits.empty()) return "0";
  if (negative) digits += '-';
  std::ranges::reverse(digits);
  return digits;
}

// The machine a pickle is written for: a stack, marks in it and a memo. Containers are referred to
// by number, since the memo may name one before it is filled.
class Machine {
 public:
  explicit Machine(std::string_view bytes) : bytes_(bytes) {}

  Result<Value> run() {
    while (!stopped_) {
      TRY(const std::string_view opcode, take(1));
      TRY_VOID(step(opcode[0]));
      if (nodes_.size() > kValuesMax) return bad("too many values");
    }
    TRY(const std::size_t root, pop());
    return build(root, 0);
  }

 private:
  struct Node {
    Value value;                     // without items
    std::vector<std::size_t> items;  // of lists and dicts
  };

  std::unexpected<Error> bad(std::string_view what) const {
    return failure(Code::kCorruption, fmt::format("not a pickle at byte {}: {}", at_, what));
  }

  Result<std::string_view> take(std::size_t size) {
    if (bytes_.size() - at_ < size) return bad("cut short");
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }
  Result<std::uint64_t> little(std::size_t size) {
    TRY(const std::string_view raw, take(size));
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < size; ++i)
      number |= static_cast<std::uint64_t>(static_cast<unsigned char>(raw[i])) << (8 * i);
    return number;
  }
  Result<std::string_view> line() {
    const auto end = bytes_.find('\n', at_);
    if (end == std::string_view::npos) return bad("cut short");
    TRY(const std::string_view text, take(end - at_ + 1));
    return text.substr(0, text.size() - 1);
  }

  Result<void> push(Value value) {
    nodes_.push_back({.value = std::move(value), .items = {}});
    stack_.push_back(nodes_.size() - 1);
    return {};
  }
  Result<void> push_kind(Kind kind, std::string text = {}) {
    Value value;
    value.kind = kind;
    value.text = std::move(text);
    return push(std::move(value));
  }
  Result<std::size_t> pop() {
    if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) return bad("empty stack");
    const std::size_t top = stack_.back();
    stack_.pop_back();
    return top;
  }
  // What was pushed since the last mark.
  Result<std::vector<std::size_t>> pop_mark() {
    if (marks_.empty() || marks_.back() > stack_.size()) return bad("no mark");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<std::size_t> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }
  Result<std::vector<std::size_t>> pop_many(std::size_t count) {
    std::vector<std::size_t> items(count);
    for (std::size_t i = count; i-- > 0;) {
      TRY(items[i], pop());
    }
    return items;
  }

  Result<void> push_container(Kind kind, std::vector<std::size_t> items) {
    TRY_VOID(push_kind(kind));
    nodes_.back().items = std::move(items);
    return {};
  }
  Result<void> add_items(Kind kind, const std::vector<std::size_t>& items) {
    if (stack_.empty() || nodes_[stack_.back()].value.kind != kind) return bad("wrong container");
    if (kind == Kind::kDict && items.size() % 2 != 0) return bad("a key without a value");
    auto& into = nodes_[stack_.back()].items;
    into.insert(into.end(), items.begin(), items.end());
    return {};
  }
  Result<void> add_marked(Kind kind) {
    TRY(const auto items, pop_mark());
    return add_items(kind, items);
  }
  Result<void> add_top(Kind kind, std::size_t count) {
    TRY(const auto items, pop_many(count));
    return add_items(kind, items);
  }
  Result<void> push_marked(Kind kind) {
    TRY(auto items, pop_mark());
    if (kind == Kind::kDict && items.size() % 2 != 0) return bad("a key without a value");
    return push_container(kind, std::move(items));
  }
  Result<void> push_tuple(std::size_t count) {
    TRY(auto items, pop_many(count));
    return push_container(Kind::kList, std::move(items));
  }

  Result<void> memoize(std::uint64_t name) {
    if (stack_.empty()) return bad("empty stack");
    memo_[name] = stack_.back();
    return {};
  }
  Result<void> recall(std::uint64_t name) {
    const auto found = memo_.find(name);
    if (found == memo_.end()) return bad("unknown memo");
    stack_.push_back(found->second);
    return {};
  }
  Result<std::uint64_t> line_number() {
    TRY(const std::string_view text, line());
    std::uint64_t number = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), number).ec != std::errc())
      return bad("not a number");
    return number;
  }

  Result<void> push_sized(Kind kind, std::size_t size_bytes) {
    TRY(const std::uint64_t size, little(size_bytes));
    TRY(const std::string_view bytes, take(size));
    return push_kind(kind, std::string(bytes));
  }
  Result<void> push_little(std::size_t size, bool is_signed) {
    TRY(const std::uint64_t number, little(size));
    return push(make_integer(is_signed ? static_cast<std::int32_t>(number)
                                       : static_cast<std::int64_t>(number)));
  }
  Result<void> push_long(std::size_t size_bytes) {
    TRY(const std::uint64_t size, little(size_bytes));
    if (size > 4096) return bad("a number too long");
    TRY(const std::string_view bytes, take(size));
    return push_kind(Kind::kInteger, decimal_of(bytes));
  }
  Result<void> push_line_integer() {
    TRY(std::string_view text, line());
    if (text == "00" || text == "01") return push(make_bool(text == "01"));
    if (text.ends_with('L')) text.remove_suffix(1);
    const bool negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos)
      return bad("not a number");
    text.remove_prefix(std::min(text.find_first_not_of('0'), text.size() - 1));
    return push_kind(Kind::kInteger, (negative && text != "0" ? "-" : "") + std::string(text));
  }
  Result<void> push_float() {
    TRY(const std::string_view raw, take(8));
    std::uint64_t bits = 0;
    for (const char c : raw) bits = bits << 8 | static_cast<unsigned char>(c);
    TRY_VOID(push_kind(Kind::kFloat));
    nodes_.back().value.number = std::bit_cast<double>(bits);
    return {};
  }
  Result<void> skip(std::size_t size) {
    TRY_VOID(take(size));
    return {};
  }

  Result<void> step(char opcode) {
    switch (static_cast<unsigned char>(opcode)) {
      case 0x80:
        return skip(1);  // PROTO
      case 0x95:
        return skip(8);  // FRAME
      case '.':
        stopped_ = true;
        return {};
      case '(':
        marks_.push_back(stack_.size());
        return {};
      case 'N':
        return push_kind(Kind::kNone);
      case 0x88:
        return push(make_bool(true));
      case 0x89:
        return push(make_bool(false));
      default:
        return step_number_or_text(opcode);
    }
  }
  Result<void> step_number_or_text(char opcode) {
    switch (static_cast<unsigned char>(opcode)) {
      case 'K':
        return push_little(1, false);
      case 'M':
        return push_little(2, false);
      case 'J':
        return push_little(4, true);
      case 0x8a:
        return push_long(1);
      case 0x8b:
        return push_long(4);
      case 'I':
      case 'L':
        return push_line_integer();
      case 'G':
        return push_float();
      case 0x8c:
        return push_sized(Kind::kText, 1);
      case 'X':
        return push_sized(Kind::kText, 4);
      case 0x8d:
        return push_sized(Kind::kText, 8);
      case 'C':
        return push_sized(Kind::kBytes, 1);
      case 'B':
        return push_sized(Kind::kBytes, 4);
      case 0x8e:
        return push_sized(Kind::kBytes, 8);
      default:
        return step_container(opcode);
    }
  }
  Result<void> step_container(char opcode) {
    switch (static_cast<unsigned char>(opcode)) {
      case '}':
        return push_kind(Kind::kDict);
      case ']':
      case ')':
        return push_kind(Kind::kList);
      case 'd':
        return push_marked(Kind::kDict);
      case 'l':
      case 't':
        return push_marked(Kind::kList);
      case 0x85:
        return push_tuple(1);
      case 0x86:
        return push_tuple(2);
      case 0x87:
        return push_tuple(3);
      case 's':
        return add_top(Kind::kDict, 2);
      case 'u':
        return add_marked(Kind::kDict);
      case 'a':
        return add_top(Kind::kList, 1);
      case 'e':
        return add_marked(Kind::kList);
      default:
        return step_memo(opcode);
    }
  }
  Result<void> step_memo(char opcode) {
    if (static_cast<unsigned char>(opcode) == 0x94) return memoize(memo_.size());
    if (!std::string_view("qrphjg").contains(opcode))
      return failure(Code::kUnsupported,
                     fmt::format("the pickle holds more than plain values (opcode 0x{:02x})",
                                 static_cast<unsigned char>(opcode)));
    const bool in_line = opcode == 'p' || opcode == 'g';
    const bool puts = opcode == 'q' || opcode == 'r' || opcode == 'p';
    TRY(const std::uint64_t name,
        in_line ? line_number() : little(opcode == 'q' || opcode == 'h' ? 1 : 4));
    return puts ? memoize(name) : recall(name);
  }

  Result<Value> build(std::size_t index, int depth) {
    if (depth > kDepthMax) return bad("nested too deep, or in itself");
    if (++built_ > kValuesMax) return bad("too many values");
    Value value = nodes_[index].value;
    value.items.reserve(nodes_[index].items.size());
    for (const std::size_t item : nodes_[index].items) {
      TRY(Value built, build(item, depth + 1));
      value.items.push_back(std::move(built));
    }
    return value;
  }

  std::string_view bytes_;
  std::size_t at_ = 0;
  bool stopped_ = false;
  std::size_t built_ = 0;
  std::vector<Node> nodes_;
  std::vector<std::size_t> stack_;
  std::vector<std::size_t> marks_;  // sizes of the stack; never above stack_.size()
  std::unordered_map<std::uint64_t, std::size_t> memo_;
};

}  // namespace

std::string write_pickle(const Value& value) {
  std::string out = "\x80\x02";
  write(out, value);
  out += '.';
  return out;
}

Result<Value> read_pickle(std::string_view pickle) {
  return Machine(pickle).run();
}

}  // namespace banyan::sessions
