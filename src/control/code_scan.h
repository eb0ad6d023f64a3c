#pragma once
// Code scan: reads an application's source as text and finds what ties it to one machine, by file
// and line. Knows no language's grammar: a finding is a place to look at, not a verdict.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace banyan::control {

struct CodeFile {
  std::string path;  // relative to the application's root
  std::string text;
};

struct CodePlace {
  std::string file;
  int line = 0;
  std::string text() const { return file + ":" + std::to_string(line); }
};

struct CodeFinding {
  enum class Kind : std::uint8_t { kAbsolutePath, kHost, kLocalWrite, kBackgroundWork };
  Kind kind;
  CodePlace place;
  std::string what;  // the literal or call found
};

struct EnvironmentUse {
  std::string variable;
  bool required = false;  // the code stops when it is not set
  CodePlace place;
};

inline constexpr std::size_t kCodeFilesMax = 20'000;
inline constexpr std::size_t kCodeFileBytesMax = 2 << 20;

// Source files below `root`, sorted by path, without dependencies, tests and database migrations.
Result<std::vector<CodeFile>> read_code(const std::string& root);
std::vector<CodeFinding> scan_code(const CodeFile& file);
// Environment variables that Python or JavaScript code reads.
std::vector<EnvironmentUse> environment_uses(const CodeFile& file);

// The text line by line with numbers from 1, without what stands in triple quotes.
struct CodeLine {
  int number;
  std::string_view text;
};
std::vector<CodeLine> code_lines(std::string_view text);
// Contents of the '...' and "..." literals of one line.
std::vector<std::string_view> literals(std::string_view line);

}  // namespace banyan::control
