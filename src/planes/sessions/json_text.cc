// JSON in Python's dialect. Not nlohmann's: sessions hold what json.dumps writes and other parsers
// refuse or round (NaN, lone surrogates, integers of more than 64 bits).
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "planes/sessions/value.h"

namespace banyan::sessions {
namespace {

using Kind = Value::Kind;

void append_utf8(std::string& out, std::uint32_t point) {
  if (point < 0x80) {
    out += static_cast<char>(point);
  } else if (point < 0x800) {
    out += static_cast<char>(0xC0 | (point >> 6));
    out += static_cast<char>(0x80 | (point & 0x3F));
  } else if (point < 0x10000) {
    out += static_cast<char>(0xE0 | (point >> 12));
    out += static_cast<char>(0x80 | ((point >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (point & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | (point >> 18));
    out += static_cast<char>(0x80 | ((point >> 12) & 0x3F));
    out += static_cast<char>(0x80 | ((point >> 6) & 0x3F));
    out += static_cast<char>(0x80 | (point & 0x3F));
  }
}

// -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?
bool is_number(std::string_view text) {
  const auto digits = [&] {
    const auto size = std::min(text.find_first_not_of("0123456789"), text.size());
    text.remove_prefix(size);
    return size;
  };
  if (text.starts_with('-')) text.remove_prefix(1);
  const bool zero = text.starts_with('0');
  const auto whole = digits();
  if (whole == 0 || (zero && whole > 1)) return false;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (digits() == 0) return false;
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
    if (digits() == 0) return false;
  }
  return text.empty();
}

class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  Result<Value> document() {
    TRY(Value value, read(0));
    skip_space();
    if (at_ != text_.size()) return bad("text after the value");
    return value;
  }

 private:
  std::unexpected<Error> bad(std::string_view what) const {
    return failure(Code::kCorruption, fmt::format("not JSON at byte {}: {}", at_, what));
  }
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").contains(text_[at_])) ++at_;
  }
  char peek() {
    skip_space();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  Result<Value> read(int depth) {
    if (depth > kDepthMax) return bad("nested too deep");
    if (++values_ > kValuesMax) return bad("too many values");
    switch (peek()) {
      case '{':
        return dict(depth);
      case '[':
        return list(depth);
      case '"':
        return text_value();
      default:
        return word_or_number();
    }
  }

  Result<Value> text_value() {
    TRY(std::string text, string());
    return make_text(std::move(text));
  }

  Result<Value> word_or_number() {
    if (take("null")) return Value{};
    if (take("true")) return make_bool(true);
    if (take("false")) return make_bool(false);
    if (take("NaN")) return real(std::numeric_limits<double>::quiet_NaN());
    if (take("Infinity")) return real(std::numeric_limits<double>::infinity());
    if (take("-Infinity")) return real(-std::numeric_limits<double>::infinity());
    return number();
  }

  static Value real(double number) {
    Value value;
    value.kind = Kind::kFloat;
    value.number = number;
    return value;
  }

  Result<Value> number() {
    const auto size = text_.find_first_not_of("+-0123456789.eE", at_);
    const auto digits = text_.substr(at_, size == std::string_view::npos ? size : size - at_);
    const bool whole = digits.find_first_of(".eE") == std::string_view::npos;
    if (!is_number(digits)) return bad("not a value");
    double parsed = 0;
    const auto problem = std::from_chars(digits.data(), digits.data() + digits.size(), parsed).ec;
    at_ += digits.size();
    if (!whole) return real(problem == std::errc() ? parsed : out_of_range(digits));
    Value value;
    value.kind = Kind::kInteger;
    value.text = digits == "-0" ? "0" : std::string(digits);
    return value;
  }

  static double out_of_range(std::string_view digits) {
    return std::strtod(std::string(digits).c_str(), nullptr);  // infinity or zero, as in Python
  }

  Result<Value> list(int depth) {
    Value value;
    value.kind = Kind::kList;
    ++at_;
    if (peek() == ']') return ++at_, value;
    while (true) {
      TRY(Value item, read(depth + 1));
      value.items.push_back(std::move(item));
      const char next = peek();
      ++at_;
      if (next == ']') return value;
      if (next != ',') return bad("expected , or ]");
    }
  }

  Result<Value> dict(int depth) {
    Value value;
    value.kind = Kind::kDict;
    ++at_;
    if (peek() == '}') return ++at_, value;
    while (true) {
      if (peek() != '"') return bad("expected a key");
      TRY(std::string key, string());
      if (peek() != ':') return bad("expected :");
      ++at_;
      TRY(Value item, read(depth + 1));
      value.items.push_back(make_text(std::move(key)));
      value.items.push_back(std::move(item));
      const char next = peek();
      ++at_;
      if (next == '}') return value;
      if (next != ',') return bad("expected , or }");
    }
  }

  Result<std::string> string() {
    std::string out;
    for (++at_; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c == '"') return ++at_, out;
      if (c != '\\') {
        append_utf8(out, static_cast<unsigned char>(c));
      } else if (++at_ >= text_.size()) {
        break;
      } else {
        TRY_VOID(escape(out));
      }
    }
    return bad("a string without end");
  }

  // At the letter after the backslash; leaves the position on the last character of the escape.
  Result<void> escape(std::string& out) {
    constexpr std::string_view kLetters = "\"\\/bfnrt";
    constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
    if (const auto i = kLetters.find(text_[at_]); i != std::string_view::npos) {
      out += kMeanings[i];
      return {};
    }
    if (text_[at_] != 'u') return bad("unknown escape");
    TRY(std::uint32_t point, hex4(at_ + 1));
    at_ += 4;
    if (point >= 0xD800 && point < 0xDC00 && text_.substr(at_ + 1, 2) == "\\u") {
      const auto low = hex4(at_ + 3);
      if (low && *low >= 0xDC00 && *low < 0xE000) {
        point = 0x10000 + ((point - 0xD800) << 10) + (*low - 0xDC00);
        at_ += 6;
      }
    }
    append_utf8(out, point);
    return {};
  }

  Result<std::uint32_t> hex4(std::size_t at) const {
    std::uint32_t point = 0;
    const auto digits = text_.substr(std::min(at, text_.size()), 4);
    const auto [end, problem] =
        std::from_chars(digits.data(), digits.data() + digits.size(), point, 16);
    if (digits.size() != 4 || problem != std::errc() || end != digits.data() + 4)
      return bad("expected four hexadecimal digits");
    return point;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t values_ = 0;
};

// The code point at `at` of text whose surrogates may be lone; advances past it.
std::uint32_t next_point(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) -> std::uint32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0x80U;
  };
  const std::uint32_t first = byte(at);
  const int more = first < 0xC0 ? 0 : first < 0xE0 ? 1 : first < 0xF0 ? 2 : 3;
  std::uint32_t point = more == 0 ? first : first & (0x3FU >> more);
  for (int i = 1; i <= more; ++i) point = (point << 6) | (byte(at + i) & 0x3F);
  at += 1 + more;
  return point;
}

void append_escaped(std::string& out, std::uint32_t point) {
  if (point >= 0x10000) {
    append_escaped(out, 0xD800 + ((point - 0x10000) >> 10));
    append_escaped(out, 0xDC00 + ((point - 0x10000) & 0x3FF));
  } else if (point == '"' || point == '\\') {
    out += '\\';
    out += static_cast<char>(point);
  } else if (point >= 0x20 && point < 0x7F) {
    out += static_cast<char>(point);
  } else {
    out += fmt::format("\\u{:04x}", point);
  }
}

void write_string(std::string& out, std::string_view text) {
  out += '"';
  for (std::size_t at = 0; at < text.size();) append_escaped(out, next_point(text, at));
  out += '"';
}

Result<void> write(std::string& out, const Value& value) {
  const bool is_dict = value.kind == Kind::kDict;
  switch (value.kind) {
    case Kind::kText:
      write_string(out, value.text);
      return {};
    case Kind::kBytes:
      return failure(Code::kUnsupported, "bytes cannot be written as JSON");
    case Kind::kList:
    case Kind::kDict:
      break;
    default:
      out += json_key(value);
      return {};
  }
  out += is_dict ? '{' : '[';
  for (std::size_t i = 0; i < value.items.size(); ++i) {
    if (is_dict && i % 2 == 0) {
      if (i > 0) out += ',';
      write_string(out, json_key(value.items[i]));
      out += ':';
      continue;
    }
    if (!is_dict && i > 0) out += ',';
    TRY_VOID(write(out, value.items[i]));
  }
  out += is_dict ? '}' : ']';
  return {};
}

}  // namespace

Result<Value> read_json(std::string_view json) {
  return Reader(json).document();
}

Result<std::string> write_json(const Value& value) {
  std::string out;
  TRY_VOID(write(out, value));
  return out;
}

}  // namespace banyan::sessions
