#include "planes/files/names.h"

#include <gtest/gtest.h>

namespace banyan::files {
namespace {

std::string key(std::string_view path) {
  return key_of_path("", path).value();
}

TEST(Names, AKeyLongerThanAnObjectsKeyHasNoPath) {
  EXPECT_TRUE(path_of_key("", std::string(200, 'a') + "/b"));
  std::string key = "a";
  while (key.size() <= 1024) key += "/" + std::string(100, 'a');
  EXPECT_FALSE(path_of_key("", key));
}

TEST(Names, OrdinaryNamesStayAsTheyAre) {
  for (const std::string name : {"a/b c.txt", "100%", "50% off/ü.png", "%zz", "日本", "a+b&c"}) {
    EXPECT_EQ(key(name), name);
  }
}

TEST(Names, EveryNameComesBack) {
  for (const std::string name : {"%41", "%%41", "%4\x01", "bad\xff\xfe", "\xed\xa0\x80", "\xc0\xaf",
                                 "new\nline", "%\xff", "\xf4\x90\x80\x80", "%2", "a/%2F/b"}) {
    EXPECT_EQ(path_of_key("p/", "p/" + key(name)), name) << key(name);
  }
}

TEST(Names, DifferentNamesHaveDifferentKeys) {
  EXPECT_NE(key("A"), key("%41"));
  EXPECT_NE(key("%41"), key("%2541"));
}

TEST(Names, KeysThatCannotBeFilesAreRefused) {
  for (const std::string bad : {"", "/a", "a/", "a//b", "..", "a/../b", "./a", "%2e%2e/a", "a%2Fb",
                                "%41", "a%00b", ".banyan-tmp-1", "x/.banyan-barrier-1"}) {
    EXPECT_FALSE(path_of_key("", bad)) << bad;
  }
  EXPECT_FALSE(path_of_key("p/", "q/a"));
}

TEST(Names, TooLongKeysAreReported) {
  EXPECT_FALSE(key_of_path("", std::string(1025, 'a')));
  EXPECT_TRUE(key_of_path("", std::string(1024, 'a')));
}

}  // namespace
}  // namespace banyan::files
