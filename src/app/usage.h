#pragma once
// What is wrong with a command line, as an Error whose ways out can be typed as they stand: a
// misspelt verb or option is told with the nearest one there is.

#include <CLI/CLI.hpp>
#include <span>
#include <string>

#include "base/error.h"

namespace banyan {

// `words` is the command line without the program's name; `complaint` is what the parser says of it
// where no word is unknown.
Error usage_error(const CLI::App& app, std::span<const std::string> words,
                  const std::string& complaint);

}  // namespace banyan
