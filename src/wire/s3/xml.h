#pragma once
// The XML S3 speaks: elements and text, no attributes worth keeping. Parsing is bounded in depth
// and refuses document type declarations. Values; pure.

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace banyan::s3 {

struct XmlNode {
  std::string name;
  std::string text;
  std::vector<XmlNode> children;

  const XmlNode* child(std::string_view name) const;
  // Text of the child, or "".
  std::string value(std::string_view name) const;
};

Result<XmlNode> parse_xml(std::string_view text);

// Characters XML 1.0 cannot carry become U+FFFD.
std::string xml_escaped(std::string_view text);
// "<name>escaped text</name>"
std::string xml_element(std::string_view name, std::string_view text);

}  // namespace banyan::s3
