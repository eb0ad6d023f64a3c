#include "control/code_scan.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

namespace banyan::control {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using Kind = CodeFinding::Kind;

std::vector<std::pair<Kind, int>> scan(const std::string& text) {
  std::vector<std::pair<Kind, int>> found;
  for (const auto& finding : scan_code({"app.py", text})) {
    found.emplace_back(finding.kind, finding.place.line);
  }
  return found;
}

TEST(CodeScan, FindsWhatTiesTheCodeToOneMachine) {
  EXPECT_THAT(scan("import os\n"
                   "ROOT = '/srv/app/files'\n"
                   "API = \"http://localhost:9200\"\n"
                   "with open(name, 'wb') as f: pass\n"
                   "threading.Thread(target=f).start()\n"),
              ElementsAre(std::pair(Kind::kAbsolutePath, 2), std::pair(Kind::kHost, 3),
                          std::pair(Kind::kLocalWrite, 4), std::pair(Kind::kBackgroundWork, 5)));
}

TEST(CodeScan, LeavesCommentsTextsAndNumbersAlone) {
  EXPECT_THAT(scan("# '/srv/app'\n"
                   "\"\"\"Reads\n'/srv/app'\n\"\"\"\n"
                   "path('/login/', x)\n"
                   "VERSION = '10.5'\n"
                   "message = 'localhost is not allowed'\n"
                   "open(name, 'rb')\n"),
              testing::IsEmpty());
}

TEST(CodeScan, VariablesReadWithADefaultAreNotRequired) {
  const auto uses = environment_uses({"settings.py",
                                      "A = os.environ['A']\n"
                                      "B = os.environ.get(\"B\", '')\n"
                                      "if os.environ.get('C'): C = os.environ['C']\n"
                                      "const d = process.env.D_D || 1\n"});
  std::vector<std::pair<std::string, bool>> found;
  for (const auto& use : uses) found.emplace_back(use.variable, use.required);
  EXPECT_THAT(found, testing::UnorderedElementsAre(std::pair<std::string, bool>("A", true),
                                                   std::pair<std::string, bool>("B", false),
                                                   std::pair<std::string, bool>("C", false),
                                                   std::pair<std::string, bool>("C", false),
                                                   std::pair<std::string, bool>("D_D", false)));
}

TEST(CodeScan, ReadsSourceFilesOnly) {
  std::string name = (fs::temp_directory_path() / "scanXXXXXX").string();
  const fs::path root = mkdtemp(name.data());
  fs::create_directories(root / "node_modules");
  fs::create_directories(root / "pkg");
  for (const char* file : {"b.py", "pkg/a.js", "node_modules/x.js", "data.bin"}) {
    std::ofstream(root / file) << "x";
  }
  const auto files = read_code(root.string());
  fs::remove_all(root);
  ASSERT_TRUE(files);
  ASSERT_EQ(files->size(), 2U);
  EXPECT_EQ((*files)[0].path, "b.py");
  EXPECT_EQ((*files)[1].path, "pkg/a.js");
  EXPECT_EQ(read_code(root.string()).error().code(), Code::kNotFound);
}

}  // namespace
}  // namespace banyan::control
