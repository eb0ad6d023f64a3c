#include "wire/http/path.h"

#include <gtest/gtest.h>

#include <string>

namespace banyan::http {
namespace {

std::string normal(std::string_view target) {
  std::string scratch;
  const auto path = normal_path(target, scratch);
  return path ? std::string(*path) : "refused";
}

TEST(NormalPath, LeavesANormalPathAlone) {
  EXPECT_EQ(normal("/a/b"), "/a/b");
  EXPECT_EQ(normal("/a/b/?c=/../d"), "/a/b/");
  EXPECT_EQ(normal("/"), "/");
}

TEST(NormalPath, ResolvesDotsAndDoubleSlashes) {
  EXPECT_EQ(normal("/a/./b"), "/a/b");
  EXPECT_EQ(normal("/a/../b"), "/b");
  EXPECT_EQ(normal("//a///b"), "/a/b");
  EXPECT_EQ(normal("/a/b/.."), "/a/");
  EXPECT_EQ(normal("/a/."), "/a/");
  EXPECT_EQ(normal("/a/..;x=y/b"), "/b");
  EXPECT_EQ(normal("/a/%2e%2E/b"), "/b");
}

TEST(NormalPath, DecodesOnlyWhatNeverNeededEscaping) {
  EXPECT_EQ(normal("/%61%2Fb%3f"), "/a%2Fb%3F");
  EXPECT_EQ(normal("/%7euser"), "/~user");
}

TEST(NormalPath, RefusesBadEscapesAndClimbingAboveTheRoot) {
  EXPECT_EQ(normal("/%zz"), "refused");
  EXPECT_EQ(normal("/%4"), "refused");
  EXPECT_EQ(normal("/a%00b"), "refused");
  EXPECT_EQ(normal("/../a"), "refused");
  EXPECT_EQ(normal("/a/../../b"), "refused");
}

}  // namespace
}  // namespace banyan::http
