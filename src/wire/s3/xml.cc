#include "wire/s3/xml.h"

#include <cctype>
#include <cstdlib>

namespace banyan::s3 {
namespace {

constexpr int kDepthMax = 16;

void append_utf8(std::string& out, unsigned long code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x110000) {
    out += static_cast<char>(0xf0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3f));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

void append_entity(std::string& out, std::string_view name) {
  if (name == "amp") out += '&';
  if (name == "lt") out += '<';
  if (name == "gt") out += '>';
  if (name == "quot") out += '"';
  if (name == "apos") out += '\'';
  if (name.starts_with("#x")) {
    append_utf8(out, std::strtoul(std::string(name.substr(2)).c_str(), nullptr, 16));
  } else if (name.starts_with("#")) {
    append_utf8(out, std::strtoul(std::string(name.substr(1)).c_str(), nullptr, 10));
  }
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); i++) {
    const auto end = text[i] == '&' ? text.find(';', i) : std::string_view::npos;
    if (end == std::string_view::npos) {
      out += text[i];
      continue;
    }
    append_entity(out, text.substr(i + 1, end - i - 1));
    i = end;
  }
  return out;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) {}

  Result<XmlNode> document() {
    TRY_VOID(skip_prologue());
    return element(0);
  }

 private:
  static std::unexpected<Error> malformed(std::string_view what) {
    return failure(Code::kInvalidArgument, "malformed XML: " + std::string(what));
  }
  void skip_space() {
    while (!rest_.empty() && std::isspace(static_cast<unsigned char>(rest_.front())) != 0) {
      rest_.remove_prefix(1);
    }
  }
  // True when `open` was there and was skipped up to and including `close`.
  bool skip(std::string_view open, std::string_view close) {
    if (!rest_.starts_with(open)) return false;
    const auto end = rest_.find(close);
    rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end + close.size());
    return true;
  }
  Result<void> skip_prologue() {
    do {
      skip_space();
    } while (skip("<?", "?>") || skip("<!--", "-->"));
    if (rest_.starts_with("<!")) return malformed("declarations are refused");
    return {};
  }
  Result<XmlNode> element(int depth) {
    if (depth > kDepthMax) return malformed("too deep");
    const auto end = rest_.find('>');
    if (!rest_.starts_with("<") || end == std::string_view::npos) return malformed("no element");
    auto tag = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    const bool is_empty = tag.ends_with("/");
    if (is_empty) tag.remove_suffix(1);
    XmlNode node{.name = std::string(tag.substr(0, tag.find_first_of(" \t\r\n"))),
                 .text = {},
                 .children = {}};
    if (node.name.empty()) return malformed("element without a name");
    if (is_empty) return node;
    TRY_VOID(content(node, depth));
    return node;
  }
  Result<void> content(XmlNode& node, int depth) {
    while (true) {
      const auto next = rest_.find('<');
      if (next == std::string_view::npos) return malformed("element is not closed");
      node.text += unescaped(rest_.substr(0, next));
      rest_.remove_prefix(next);
      if (skip("<!--", "-->")) continue;
      if (rest_.starts_with("</")) return close(node.name);
      TRY(auto child, element(depth + 1));
      node.children.push_back(std::move(child));
    }
  }
  Result<void> close(const std::string& name) {
    if (!rest_.starts_with("</" + name)) return malformed("elements overlap");
    skip("</", ">");
    return {};
  }

  std::string_view rest_;
};

}  // namespace

const XmlNode* XmlNode::child(std::string_view wanted) const {
  for (const XmlNode& node : children) {
    if (node.name == wanted) return &node;
  }
  return nullptr;
}

std::string XmlNode::value(std::string_view wanted) const {
  const XmlNode* node = child(wanted);
  return node == nullptr ? std::string() : node->text;
}

Result<XmlNode> parse_xml(std::string_view text) {
  return Parser(text).document();
}

std::string xml_escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\r':
        out += "&#13;";
        break;
      case '\n':
      case '\t':
        out += c;
        break;
      default:
        out += static_cast<unsigned char>(c) < 0x20 ? "\xef\xbf\xbd" : std::string(1, c);
    }
  }
  return out;
}

std::string xml_element(std::string_view name, std::string_view text) {
  return "<" + std::string(name) + ">" + xml_escaped(text) + "</" + std::string(name) + ">";
}

}  // namespace banyan::s3
