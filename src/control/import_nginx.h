#pragma once
// Reads nginx's configuration language (nginx.org/en/docs: "Configuration file's structure" and the
// http core, proxy, upstream, rewrite and headers modules) and turns what serves HTTP into routes
// and services. Any bytes are acceptable input; what is not understood is left over, never guessed.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "control/imported.h"

namespace banyan::control {

struct NginxDirective {
  std::string name;
  std::vector<std::string> args;
  std::string where;  // "file:line"
  std::vector<NginxDirective> block;
  bool has_block = false;

  std::string text() const;  // "proxy_pass http://app"
};

// At most 32 levels. Errors name file and line.
Result<std::vector<NginxDirective>> parse_nginx(std::string_view text, const std::string& file);

using ReadFile = std::function<Result<std::string>(const std::string& path)>;
// `read` gets what `include` names, patterns expanded, relative to the folder of `file`.
Result<Imported> import_nginx(std::string_view text, const std::string& file, const ReadFile& read);

}  // namespace banyan::control
