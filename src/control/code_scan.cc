#include "control/code_scan.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace banyan::control {
namespace {

namespace fs = std::filesystem;
using Kind = CodeFinding::Kind;

constexpr std::array<std::string_view, 9> kExtensions = {".py", ".js",   ".ts",  ".rb",  ".php",
                                                         ".go", ".java", ".ini", ".conf"};
constexpr std::array<std::string_view, 12> kSkippedFolders = {
    "node_modules", "venv", "env",  "__pycache__", "site-packages", "migrations",
    "tests",        "test", "dist", "build",       "vendor",        "static"};

bool is_skipped(const fs::path& folder) {
  const auto name = folder.filename().string();
  return name.starts_with('.') || std::ranges::find(kSkippedFolders, name) != kSkippedFolders.end();
}

bool is_code(const fs::path& file) {
  const auto extension = file.extension().string();
  return std::ranges::find(kExtensions, extension) != kExtensions.end();
}

std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

template <std::size_t N>
bool starts_with_any(std::string_view text, const std::array<std::string_view, N>& prefixes) {
  return std::ranges::any_of(prefixes, [&](auto prefix) { return text.starts_with(prefix); });
}

bool is_absolute_path(std::string_view literal) {
  static constexpr std::array<std::string_view, 9> kRoots = {
      "/var/", "/srv/", "/home/", "/opt/", "/mnt/", "/data/", "/etc/", "/usr/local/", "/root/"};
  return starts_with_any(literal, kRoots) && literal.find(' ') == std::string_view::npos;
}

bool is_host(std::string_view literal) {
  static constexpr std::array<std::string_view, 8> kHosts = {
      "localhost",        "127.0.0.1",   "10.",        "192.168.",
      "http://localhost", "http://127.", "http://10.", "http://192.168."};
  if (!starts_with_any(literal, kHosts)) return false;
  if (literal.find_first_of(" ,") != std::string_view::npos) return false;
  // "10.5" or "10.0.1" is a number or a version; an address has three dots.
  const bool numeric = literal.front() == '1';
  return !numeric || std::ranges::count(literal, '.') == 3;
}

bool is_local_write(std::string_view line) {
  static constexpr std::array<std::string_view, 6> kModes = {", \"w\"", ", 'w'",   ", \"wb\"",
                                                             ", 'wb'",  ", \"a\"", ", 'a'"};
  if (line.find("writeFileSync(") != std::string_view::npos) return true;
  if (line.find("FileHandler") != std::string_view::npos) return true;
  if (line.find("open(") == std::string_view::npos) return false;
  return std::ranges::any_of(kModes, [&](auto mode) { return line.find(mode) != line.npos; });
}

std::string_view background_call(std::string_view line) {
  static constexpr std::array<std::string_view, 6> kCalls = {
      "threading.Thread(", "BackgroundScheduler(", "schedule.every(",
      "threading.Timer(",  "setInterval(",         "crontab("};
  for (const auto call : kCalls) {
    if (line.find(call) != std::string_view::npos) return call.substr(0, call.size() - 1);
  }
  return {};
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  return first == std::string_view::npos ? std::string_view() : text.substr(first);
}

bool is_comment(std::string_view line) {
  const auto text = trimmed(line);
  return text.starts_with('#') || text.starts_with("//") || text.starts_with('*');
}

// The quoted text that begins exactly at `at`; empty when there is none.
std::string_view quoted_at(std::string_view line, std::size_t at) {
  at = line.find_first_not_of(' ', at);
  if (at == std::string_view::npos || (line[at] != '"' && line[at] != '\'')) return {};
  const auto end = line.find(line[at], at + 1);
  return end == std::string_view::npos ? std::string_view() : line.substr(at + 1, end - at - 1);
}

std::string_view word_at(std::string_view line, std::size_t at) {
  auto end = at;
  while (end < line.size() &&
         (std::isalnum(static_cast<unsigned char>(line[end])) != 0 || line[end] == '_')) {
    ++end;
  }
  return line.substr(at, end - at);
}

struct Reading {
  std::string_view call;
  bool required;
};

void find_uses(const Reading& reading, const CodeLine& line, const std::string& file,
               std::vector<EnvironmentUse>& uses) {
  for (auto at = line.text.find(reading.call); at != std::string_view::npos;
       at = line.text.find(reading.call, at + 1)) {
    const auto after = at + reading.call.size();
    const bool bare = reading.call.ends_with('.');  // process.env.NAME
    const auto name = bare ? word_at(line.text, after) : quoted_at(line.text, after);
    if (name.empty()) continue;
    uses.push_back({std::string(name), reading.required, {file, line.number}});
  }
}

// A variable that is also asked for politely may be absent.
void soften(std::vector<EnvironmentUse>& uses) {
  for (EnvironmentUse& use : uses) {
    const auto polite = [&](const EnvironmentUse& other) {
      return !other.required && other.variable == use.variable;
    };
    if (std::ranges::any_of(uses, polite)) use.required = false;
  }
}

}  // namespace

Result<std::vector<CodeFile>> read_code(const std::string& root) {
  std::error_code error;
  std::vector<CodeFile> files;
  fs::recursive_directory_iterator walk(root, fs::directory_options::skip_permission_denied, error);
  if (error) return failure(Code::kNotFound, root + ": " + error.message());
  for (; walk != fs::recursive_directory_iterator(); walk.increment(error)) {
    if (error) return failure(Code::kUnavailable, "reading " + root + ": " + error.message());
    if (walk->is_directory(error) && is_skipped(walk->path())) walk.disable_recursion_pending();
    if (!walk->is_regular_file(error) || !is_code(walk->path())) continue;
    if (walk->file_size(error) > kCodeFileBytesMax || files.size() == kCodeFilesMax) continue;
    files.push_back({walk->path().lexically_relative(root).string(), read(walk->path())});
  }
  std::ranges::sort(files, {}, &CodeFile::path);
  return files;
}

std::vector<CodeLine> code_lines(std::string_view text) {
  std::vector<CodeLine> lines;
  bool inside = false;  // triple quotes
  int number = 0;
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    int quotes = 0;
    for (const std::string_view triple : {R"(""")", "'''"}) {
      for (auto at = line.find(triple); at != line.npos; at = line.find(triple, at + 3)) ++quotes;
    }
    if (!inside && quotes == 0) lines.push_back({number, line});
    if (quotes % 2 == 1) inside = !inside;
  }
  return lines;
}

std::vector<std::string_view> literals(std::string_view line) {
  std::vector<std::string_view> found;
  std::size_t at = 0;
  while ((at = line.find_first_of("\"'", at)) != std::string_view::npos) {
    const auto end = line.find(line[at], at + 1);
    if (end == std::string_view::npos) break;
    found.push_back(line.substr(at + 1, end - at - 1));
    at = end + 1;
  }
  return found;
}

std::vector<CodeFinding> scan_code(const CodeFile& file) {
  std::vector<CodeFinding> findings;
  for (const CodeLine& line : code_lines(file.text)) {
    if (is_comment(line.text)) continue;
    const auto add = [&](Kind kind, std::string_view what) {
      findings.push_back({kind, {file.path, line.number}, std::string(what)});
    };
    for (const auto literal : literals(line.text)) {
      if (is_absolute_path(literal)) add(Kind::kAbsolutePath, literal);
      if (is_host(literal)) add(Kind::kHost, literal);
    }
    if (is_local_write(line.text)) add(Kind::kLocalWrite, trimmed(line.text));
    if (const auto call = background_call(line.text); !call.empty()) {
      add(Kind::kBackgroundWork, call);
    }
  }
  return findings;
}

std::vector<EnvironmentUse> environment_uses(const CodeFile& file) {
  static constexpr std::array<Reading, 5> kReadings = {{{"environ[", true},
                                                        {"environ.get(", false},
                                                        {"getenv(", false},
                                                        {"environ.setdefault(", false},
                                                        {"process.env.", false}}};
  std::vector<EnvironmentUse> uses;
  for (const CodeLine& line : code_lines(file.text)) {
    if (is_comment(line.text)) continue;
    for (const Reading& reading : kReadings) find_uses(reading, line, file.path, uses);
  }
  soften(uses);
  return uses;
}

}  // namespace banyan::control
