#include "spec/document.h"

#include <gmock/gmock.h>

namespace banyan::spec {
namespace {

using Kind = Node::Kind;

struct Parsed {
  std::optional<Node> root;
  std::vector<Problem> problems;
};

Parsed parse(std::string_view text) {
  Problems problems("banyan.yaml");
  auto root = parse_document(text, problems);
  return {std::move(root), problems.list()};
}

Kind kind_of(const std::string& scalar) {
  return parse("k: " + scalar).root->find("k")->kind;
}

TEST(Document, OnlyTrueAndFalseAreBooleans) {
  for (const char* text : {"true", "False", "TRUE"}) EXPECT_EQ(kind_of(text), Kind::kBool) << text;
  for (const char* text : {"on", "no", "yes", "off", "y", "tRue"}) {
    EXPECT_EQ(kind_of(text), Kind::kText) << text;
  }
}

TEST(Document, NumbersAreThoseOfTheCoreSchema) {
  for (const char* text : {"0", "-12", "+7", "0o17", "0x1F"}) {
    EXPECT_EQ(kind_of(text), Kind::kInteger) << text;
  }
  for (const char* text : {"1.5", ".5", "1.", "1e3", "-.inf", ".nan"}) {
    EXPECT_EQ(kind_of(text), Kind::kReal) << text;
  }
  for (const char* text : {"1_000", "12:30:45", ".", "1e", "0b1", "127.0.0.1", "\"1\""}) {
    EXPECT_EQ(kind_of(text), Kind::kText) << text;
  }
  for (const char* text : {"", "~", "null"}) EXPECT_EQ(kind_of(text), Kind::kNull) << text;
}

TEST(Document, NodesKnowTheirPlace) {
  const auto parsed = parse("a: 1\nb:\n  - c: x\n");
  const Node& c = *parsed.root->find("b")->items[0].find("c");
  EXPECT_EQ(c.at.line, 3);
  EXPECT_EQ(c.at.column, 8);
  EXPECT_EQ(c.text, "x");
}

TEST(Document, ADuplicateKeyIsAProblem) {
  const auto parsed = parse("a: 1\nb: 2\na: 3\n");
  ASSERT_EQ(parsed.problems.size(), 1U);
  EXPECT_EQ(parsed.problems[0].code, "BY-0303");
  EXPECT_EQ(parsed.problems[0].at.line, 3);
  EXPECT_THAT(parsed.problems[0].do_this, testing::HasSubstr("line 1"));
}

TEST(Document, WhatHidesItsMeaningIsUnsupported) {
  for (const char* text :
       {"a: &x 1", "a: &x 1\nb: *x", "<<: {a: 1}", "a: !!str 1", "? [a]\n: 1", "a: 1\n---\nb: 2"}) {
    const auto parsed = parse(text);
    ASSERT_FALSE(parsed.problems.empty()) << text;
    EXPECT_EQ(parsed.problems[0].code, "BY-0304") << text;
  }
}

TEST(Document, BrokenYamlIsOneProblemWithItsPlace) {
  const auto parsed = parse("a: [1, 2\nb: }\n");
  EXPECT_FALSE(parsed.root);
  ASSERT_EQ(parsed.problems.size(), 1U);
  EXPECT_EQ(parsed.problems[0].code, "BY-0302");
  EXPECT_EQ(parsed.problems[0].at.line, 2);
}

TEST(Document, DepthAndSizeAreLimited) {
  EXPECT_EQ(parse(std::string(5000, '[')).problems[0].code, "BY-0305");
  EXPECT_EQ(parse(std::string(kDocumentBytesMax + 1, ' ')).problems[0].code, "BY-0305");
}

TEST(Document, AnEmptyFileIsNothing) {
  EXPECT_EQ(parse("").root->kind, Kind::kNull);
  EXPECT_EQ(parse("# only a comment\n").root->kind, Kind::kNull);
}

}  // namespace
}  // namespace banyan::spec
