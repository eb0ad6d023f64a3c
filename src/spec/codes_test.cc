// Every code that the sources use is explained, in the binary and in docs/errors.md.
#include "spec/codes.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

namespace banyan::spec {
namespace {

namespace fs = std::filesystem;

fs::path repository() {
  return fs::path(__FILE__).parent_path().parent_path().parent_path();
}

std::string read(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::set<std::string> codes_in(const std::string& text) {
  static const std::regex kCode("BY-[0-9]{4}");
  std::set<std::string> found;
  for (std::sregex_iterator it(text.begin(), text.end(), kCode), end; it != end; ++it) {
    found.insert(it->str());
  }
  return found;
}

TEST(Codes, EveryCodeOfTheSourcesIsExplained) {
  for (const auto& entry : fs::recursive_directory_iterator(repository() / "src")) {
    const auto name = entry.path().filename().string();
    if (!name.ends_with(".cc") || name.ends_with("_test.cc")) continue;
    for (const auto& code : codes_in(read(entry.path()))) {
      EXPECT_NE(explain(code), nullptr) << code << " in " << entry.path();
    }
  }
}

TEST(Codes, TheDocumentationHasThemAll) {
  const auto documented = codes_in(read(repository() / "docs" / "errors.md"));
  for (const CodeEntry& entry : codes()) EXPECT_TRUE(documented.contains(std::string(entry.code)));
  for (const auto& code : documented) EXPECT_NE(explain(code), nullptr) << code;
}

TEST(Codes, AreFoundBySeveralSpellings) {
  EXPECT_EQ(explain("BY-0312")->title, "unknown key");
  EXPECT_EQ(explain("by-312"), explain("312"));
  EXPECT_EQ(explain("BY-9999"), nullptr);
  EXPECT_EQ(explain("unknown"), nullptr);
}

}  // namespace
}  // namespace banyan::spec
