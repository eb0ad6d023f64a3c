#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "control/import_haproxy.h"

namespace banyan::control {
namespace {

constexpr std::array<std::string_view, 12> kSections = {
    "global",    "defaults", "frontend", "backend", "listen",      "userlist",
    "resolvers", "peers",    "mailers",  "cache",   "http-errors", "program"};

// Quotes keep blanks together; a backslash takes the next byte as it is; # ends the line.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> out;
  std::string word;
  bool inside = false;
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote == 0 && c == '#') break;
    if (quote == 0 && (c == ' ' || c == '\t' || c == '\r')) {
      if (inside) out.push_back(std::exchange(word, {}));
      inside = false;
      continue;
    }
    inside = true;
    if (c == quote)
      quote = 0;
    else if (quote == 0 && (c == '"' || c == '\''))
      quote = c;
    else if (c == '\\' && quote != '\'' && i + 1 < line.size())
      word += line[++i];
    else
      word += c;
  }
  if (inside) out.push_back(std::move(word));
  return out;
}

}  // namespace

std::string HaproxyLine::text() const {
  return fmt::format("{}", fmt::join(words, " "));
}

std::vector<HaproxySection> parse_haproxy(std::string_view text, const std::string& file) {
  std::vector<HaproxySection> out;
  const std::string name = std::filesystem::path(file).filename().string();
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    HaproxyLine line{words_of(text.substr(0, end)), fmt::format("{}:{}", name, number)};
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.words.empty()) continue;
    const bool begins = std::ranges::find(kSections, line.words[0]) != kSections.end();
    if (begins || out.empty())
      out.push_back({begins ? line.words[0] : "",
                     line.words.size() > 1 ? line.words[1] : "",
                     line.where,
                     {}});
    if (!begins) out.back().lines.push_back(std::move(line));
  }
  return out;
}

}  // namespace banyan::control
