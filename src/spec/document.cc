#include "spec/document.h"

#include <yaml.h>

#include <algorithm>
#include <array>

namespace banyan::spec {
namespace {

constexpr std::string_view kDigits = "0123456789";

Position position(const yaml_mark_t& mark) {
  return {static_cast<int>(mark.line) + 1, static_cast<int>(mark.column) + 1};
}

std::string text_of(const yaml_char_t* text) {
  return text == nullptr ? std::string() : std::string(reinterpret_cast<const char*>(text));
}

bool only(std::string_view text, std::string_view characters) {
  return !text.empty() && text.find_first_not_of(characters) == std::string_view::npos;
}

std::string_view without_sign(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  return text;
}

bool is_integer(std::string_view text) {
  if (text.starts_with("0o")) return only(text.substr(2), "01234567");
  if (text.starts_with("0x")) return only(text.substr(2), "0123456789abcdefABCDEF");
  return only(without_sign(text), kDigits);
}

// [-+]? ( \. [0-9]+ | [0-9]+ ( \. [0-9]* )? ) ( [eE] [-+]? [0-9]+ )?
bool is_real(std::string_view text) {
  text = without_sign(text);
  if (text == ".inf" || text == ".Inf" || text == ".INF") return true;
  if (text == ".nan" || text == ".NaN" || text == ".NAN") return true;
  if (const auto e = text.find_first_of("eE"); e != std::string_view::npos) {
    if (!only(without_sign(text.substr(e + 1)), kDigits)) return false;
    text = text.substr(0, e);
  }
  const auto dot = text.find('.');
  if (dot == std::string_view::npos) return only(text, kDigits);
  const auto whole = text.substr(0, dot);
  const auto fraction = text.substr(dot + 1);
  const bool whole_ok = whole.empty() || only(whole, kDigits);
  const bool fraction_ok = fraction.empty() || only(fraction, kDigits);
  return whole_ok && fraction_ok && !(whole.empty() && fraction.empty());
}

Node::Kind kind_of_plain(std::string_view text) {
  static constexpr std::array<std::string_view, 5> kNulls = {"", "~", "null", "Null", "NULL"};
  static constexpr std::array<std::string_view, 6> kBools = {"true",  "True",  "TRUE",
                                                             "false", "False", "FALSE"};
  if (std::ranges::find(kNulls, text) != kNulls.end()) return Node::Kind::kNull;
  if (std::ranges::find(kBools, text) != kBools.end()) return Node::Kind::kBool;
  if (is_integer(text)) return Node::Kind::kInteger;
  if (is_real(text)) return Node::Kind::kReal;
  return Node::Kind::kText;
}

// One libyaml event, freed with its owner.
class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { yaml_event_delete(&event_); }
  bool read(yaml_parser_t& parser) {
    yaml_event_delete(&event_);
    event_ = {};
    return yaml_parser_parse(&parser, &event_) != 0;
  }
  const yaml_event_t& get() const { return event_; }
  yaml_event_type_t type() const { return event_.type; }
  Position at() const { return position(event_.start_mark); }

 private:
  yaml_event_t event_{};
};

class TreeBuilder {
 public:
  TreeBuilder(std::string_view text, Problems& problems) : problems_(problems) {
    yaml_parser_initialize(&parser_);
    yaml_parser_set_encoding(&parser_, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser_, reinterpret_cast<const unsigned char*>(text.data()),
                                 text.size());
  }
  TreeBuilder(const TreeBuilder&) = delete;
  TreeBuilder& operator=(const TreeBuilder&) = delete;
  ~TreeBuilder() { yaml_parser_delete(&parser_); }

  std::optional<Node> build() {
    if (!next() || !next()) return std::nullopt;  // stream start; document start
    if (event_.type() == YAML_STREAM_END_EVENT) return Node{};
    if (!next()) return std::nullopt;
    auto root = node(0);
    if (!root || !next() || !next()) return std::nullopt;  // document end; stream end
    if (event_.type() != YAML_STREAM_END_EVENT) {
      problems_.add("BY-0304", event_.at(), "a second YAML document in one file",
                    "keep one document: remove the line \"---\" and what follows");
    }
    return root;
  }

 private:
  bool next() {
    if (event_.read(parser_)) return true;
    const auto* what = parser_.problem == nullptr ? "not YAML" : parser_.problem;
    problems_.add("BY-0302", position(parser_.problem_mark), std::string("not valid YAML: ") + what,
                  "check the indentation, quotes and brackets just before this place");
    return false;
  }

  std::optional<Node> node(int depth) {
    if (depth > kDocumentDepthMax) {
      problems_.add("BY-0305", event_.at(), "nested too deeply",
                    "nest at most " + std::to_string(kDocumentDepthMax) + " levels");
      return std::nullopt;
    }
    Node node;
    node.at = event_.at();
    switch (event_.type()) {
      case YAML_SCALAR_EVENT:
        return scalar(std::move(node));
      case YAML_SEQUENCE_START_EVENT:
        return sequence(std::move(node), depth);
      case YAML_MAPPING_START_EVENT:
        return mapping(std::move(node), depth);
      default:
        return alias(std::move(node));
    }
  }

  Node alias(Node node) {
    problems_.add("BY-0304", node.at,
                  "alias *" + text_of(event_.get().data.alias.anchor) + " is not supported",
                  "write the value out again here");
    return node;
  }

  Node scalar(Node node) {
    const auto& scalar = event_.get().data.scalar;
    refuse_decoration(scalar.anchor, scalar.tag);
    node.text.assign(reinterpret_cast<const char*>(scalar.value), scalar.length);
    const bool plain = scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node.kind = plain ? kind_of_plain(node.text) : Node::Kind::kText;
    return node;
  }

  std::optional<Node> sequence(Node node, int depth) {
    const auto& start = event_.get().data.sequence_start;
    refuse_decoration(start.anchor, start.tag);
    node.kind = Node::Kind::kSequence;
    while (true) {
      if (!next()) return std::nullopt;
      if (event_.type() == YAML_SEQUENCE_END_EVENT) return node;
      auto item = this->node(depth + 1);
      if (!item) return std::nullopt;
      node.items.push_back(*std::move(item));
    }
  }

  std::optional<Node> mapping(Node node, int depth) {
    const auto& start = event_.get().data.mapping_start;
    refuse_decoration(start.anchor, start.tag);
    node.kind = Node::Kind::kMapping;
    while (true) {
      if (!next()) return std::nullopt;
      if (event_.type() == YAML_MAPPING_END_EVENT) return node;
      auto key = this->node(depth + 1);
      if (!key || !next()) return std::nullopt;
      auto value = this->node(depth + 1);
      if (!value) return std::nullopt;
      add_entry(node, *std::move(key), *std::move(value));
    }
  }

  void add_entry(Node& mapping, Node key, Node value) {
    if (key.kind == Node::Kind::kSequence || key.kind == Node::Kind::kMapping) {
      problems_.add("BY-0304", key.at, "a key that is not a word", "use a plain word as the key");
      return;
    }
    if (key.text == "<<") {
      problems_.add("BY-0304", key.at, "merge key << is not supported",
                    "write the merged keys out again here");
      return;
    }
    if (const Node* first = mapping.find(key.text)) {
      problems_.add("BY-0303", key.at, "key \"" + key.text + "\" stands here twice",
                    "keep one; the first value is on line " + std::to_string(first->at.line));
      return;
    }
    mapping.entries.push_back({std::move(key.text), key.at, std::move(value)});
  }

  void refuse_decoration(const yaml_char_t* anchor, const yaml_char_t* tag) {
    if (anchor != nullptr) {
      problems_.add("BY-0304", event_.at(), "anchor &" + text_of(anchor) + " is not supported",
                    "write the value out where it is needed");
    }
    if (tag != nullptr) {
      problems_.add("BY-0304", event_.at(), "tag " + text_of(tag) + " is not supported",
                    "remove it; put texts in quotes");
    }
  }

  yaml_parser_t parser_{};
  Event event_;
  Problems& problems_;
};

}  // namespace

const Node* Node::find(std::string_view key) const {
  const auto found = std::ranges::find(entries, key, &Entry::key);
  return found == entries.end() ? nullptr : &found->value;
}

std::string_view kind_name(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::kNull:
      return "nothing";
    case Node::Kind::kBool:
      return "true or false";
    case Node::Kind::kInteger:
      return "a whole number";
    case Node::Kind::kReal:
      return "a number";
    case Node::Kind::kText:
      return "a text";
    case Node::Kind::kSequence:
      return "a list";
    case Node::Kind::kMapping:
      return "a mapping";
  }
  return "nothing";
}

std::optional<Node> parse_document(std::string_view text, Problems& problems) {
  if (text.size() > kDocumentBytesMax) {
    problems.add("BY-0305", {1, 1}, "the file is larger than 1 MiB",
                 "check that this is the spec; a spec has a few hundred lines");
    return std::nullopt;
  }
  return TreeBuilder(text, problems).build();
}

}  // namespace banyan::spec
