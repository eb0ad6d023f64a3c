#include "control/nginx_includes.h"

#include <glob.h>

#include <algorithm>
#include <filesystem>

namespace banyan::control {
namespace {

using NginxDirectives = std::vector<NginxDirective>;

constexpr int kIncludeDepthMax = 8;
constexpr std::size_t kIncludesMax = 1000;

std::vector<std::string> files_of(const std::string& pattern) {
  glob_t found{};
  std::vector<std::string> out;
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
    for (std::size_t i = 0; i < found.gl_pathc; ++i) out.emplace_back(found.gl_pathv[i]);
  ::globfree(&found);
  return out;
}

// Replaces every `include` by what it names.
class Includes {
 public:
  Includes(const std::string& file, const ReadFile& read, Imported& out)
      : folder_(std::filesystem::path(file).parent_path()), read_(read), out_(out) {}

  Result<NginxDirectives> expand(NginxDirectives in, int depth) {
    NginxDirectives out;
    for (NginxDirective& directive : in) {
      if (directive.name == "include" && directive.args.size() == 1) {
        TRY_VOID(include(directive, depth, out));
        continue;
      }
      TRY(directive.block, expand(std::move(directive.block), depth));
      out.push_back(std::move(directive));
    }
    return out;
  }

 private:
  Result<void> include(const NginxDirective& directive, int depth, NginxDirectives& out) {
    const auto path = (folder_ / directive.args[0]).lexically_normal().string();
    if (path.ends_with("mime.types")) return {};  // of files served from disk
    const auto files = files_of(path);
    if (files.empty() && path.find_first_of("*?[") == std::string::npos)
      out_.leave(directive.where, directive.text(),
                 "the file was not found; give it to init as well");
    if (depth >= kIncludeDepthMax || (count_ += files.size()) > kIncludesMax)
      return failure(Code::kInvalidArgument, directive.where + ": includes are nested too deeply");
    for (const std::string& file : files) {
      TRY(const std::string text, read_(file));
      TRY(NginxDirectives parsed, parse_nginx(text, file));
      TRY(NginxDirectives expanded, expand(std::move(parsed), depth + 1));
      std::ranges::move(expanded, std::back_inserter(out));
    }
    return {};
  }

  std::filesystem::path folder_;
  const ReadFile& read_;
  Imported& out_;
  std::size_t count_ = 0;
};

}  // namespace

Result<std::vector<NginxDirective>> expand_includes(std::vector<NginxDirective> directives,
                                                    const std::string& file, const ReadFile& read,
                                                    Imported& out) {
  return Includes(file, read, out).expand(std::move(directives), 0);
}

}  // namespace banyan::control
