#pragma once
// Document: YAML text as a tree of nodes that know their line and column.
//
// YAML 1.2 core schema and no more: only true/false are booleans, so `on` and `no` are texts.
// Duplicate keys, anchors, aliases, merge keys, tags and further documents are problems, because
// each lets a file mean something else than it shows. Sans-IO; any bytes are acceptable input.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "spec/problem.h"

namespace banyan::spec {

struct Entry;

struct Node {
  enum class Kind : std::uint8_t { kNull, kBool, kInteger, kReal, kText, kSequence, kMapping };
  Kind kind = Kind::kNull;
  Position at;
  std::string text;            // of a scalar, as written
  std::vector<Node> items;     // of a sequence
  std::vector<Entry> entries;  // of a mapping, in the file's order, keys unique

  // The value of a key; null when there is none.
  const Node* find(std::string_view key) const;
};

struct Entry {
  std::string key;
  Position at;
  Node value;
};

inline constexpr std::size_t kDocumentBytesMax = 1 << 20;
inline constexpr int kDocumentDepthMax = 32;

// "a mapping", "a list", "a text", ...
std::string_view kind_name(Node::Kind kind);
// Nothing when the text is not YAML at all; a tree, possibly with problems reported, otherwise.
std::optional<Node> parse_document(std::string_view text, Problems& problems);

}  // namespace banyan::spec
