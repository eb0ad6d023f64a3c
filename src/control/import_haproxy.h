#pragma once
// Reads HAProxy's configuration (its configuration manual, sections 2 to 7) and turns frontends and
// backends in mode http into routes and services. Any bytes are acceptable input; what is not
// understood is left over, never guessed.

#include <string>
#include <string_view>
#include <vector>

#include "control/imported.h"

namespace banyan::control {

struct HaproxyLine {
  std::vector<std::string> words;
  std::string where;  // "file:line"
  std::string text() const;
};

struct HaproxySection {
  std::string kind;  // frontend, backend, listen, defaults, global, ...
  std::string name;
  std::string where;
  std::vector<HaproxyLine> lines;
};

std::vector<HaproxySection> parse_haproxy(std::string_view text, const std::string& file);
Result<Imported> import_haproxy(std::string_view text, const std::string& file);

}  // namespace banyan::control
