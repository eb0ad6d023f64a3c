#include <fmt/format.h>

#include <filesystem>

#include "control/import_nginx.h"

namespace banyan::control {
namespace {

constexpr int kDepthMax = 32;

// Words, and the marks ; { } as words of their own.
class Words {
 public:
  struct Word {
    std::string text;
    bool is_mark = false;
    int line = 0;
  };

  Words(std::string_view text) : rest_(text) {}
  int line() const { return line_; }

  // Nothing at the end.
  std::optional<Word> next() {
    skip_blanks();
    if (rest_.empty()) return std::nullopt;
    Word word{.text = {}, .line = line_};
    const char c = rest_.front();
    if (c == ';' || c == '{' || c == '}') {
      word.is_mark = true;
      word.text = take();
    } else if (c == '"' || c == '\'') {
      take_quoted(word.text);
    } else {
      take_plain(word.text);
    }
    return word;
  }

 private:
  char take() {
    const char c = rest_.front();
    rest_.remove_prefix(1);
    line_ += c == '\n' ? 1 : 0;
    return c;
  }

  void skip_blanks() {
    while (!rest_.empty()) {
      const char c = rest_.front();
      if (c == '#') {
        while (!rest_.empty() && rest_.front() != '\n') take();
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        take();
      } else {
        return;
      }
    }
  }

  void take_quoted(std::string& out) {
    const char quote = take();
    while (!rest_.empty()) {
      const char c = take();
      if (c == quote) return;
      if (c == '\\' && !rest_.empty() && (rest_.front() == quote || rest_.front() == '\\'))
        out += take();
      else
        out += c;
    }
  }

  // "${name}" belongs to the word, other braces end it.
  void take_plain(std::string& out) {
    while (!rest_.empty()) {
      const char c = rest_.front();
      const bool in_variable = c == '{' && out.ends_with('$');
      if (!in_variable && std::string_view(" \t\r\n;{}").find(c) != std::string_view::npos) return;
      out += take();
      if (in_variable)
        while (!rest_.empty() && out.back() != '}' && rest_.front() != '\n') out += take();
      if (c == '\\' && !rest_.empty()) out += take();
    }
  }

  std::string_view rest_;
  int line_ = 1;
};

class Parser {
 public:
  Parser(std::string_view text, const std::string& file)
      : words_(text), file_(std::filesystem::path(file).filename().string()) {}

  Result<std::vector<NginxDirective>> block(int depth) {
    if (depth > kDepthMax) return bad("blocks are nested too deeply");
    std::vector<NginxDirective> out;
    while (auto word = words_.next()) {
      if (word->is_mark && word->text == "}" && depth > 0) return out;
      if (word->is_mark) return bad(fmt::format("unexpected \"{}\"", word->text));
      TRY(auto directive, rest_of(*word, depth));
      out.push_back(std::move(directive));
    }
    if (depth > 0) return bad("a block is not closed: \"}\" is missing");
    return out;
  }

 private:
  std::unexpected<Error> bad(const std::string& what) const {
    return failure(Code::kInvalidArgument, fmt::format("{}:{}: {}", file_, words_.line(), what));
  }

  Result<NginxDirective> rest_of(const Words::Word& name, int depth) {
    NginxDirective out;
    out.name = name.text;
    out.where = fmt::format("{}:{}", file_, name.line);
    while (auto word = words_.next()) {
      if (!word->is_mark) {
        out.args.push_back(std::move(word->text));
        continue;
      }
      if (word->text == ";") return out;
      if (word->text == "}") return bad(fmt::format("\";\" is missing after {}", out.name));
      out.has_block = true;
      TRY(out.block, block(depth + 1));
      return out;
    }
    return bad(fmt::format("the file ends inside {}", out.name));
  }

  Words words_;
  std::string file_;
};

}  // namespace

std::string NginxDirective::text() const {
  std::string out = name;
  for (const std::string& arg : args) out += " " + arg;
  if (has_block) out += " { ... }";
  return out;
}

Result<std::vector<NginxDirective>> parse_nginx(std::string_view text, const std::string& file) {
  return Parser(text, file).block(0);
}

}  // namespace banyan::control
