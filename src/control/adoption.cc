#include "control/adoption.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>

#include "control/learned_paths.h"
#include "control/response_diff.h"

namespace banyan::control {
namespace {

using nlohmann::json;
using Verdict = ResponseDiff::Verdict;

constexpr std::streamoff kLogBytes = 4 << 20;  // of the access log's end
constexpr Duration kAnswerPatience = 10s;
constexpr Duration kWholePatience = 40s;
constexpr int kLooks = 3;

// Where the same request is asked: of the old application itself, and of the gateway.
struct Doors {
  spec::Address direct;
  spec::Address gateway;
  std::string host;
};

std::string end_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return "";
  const std::streamoff size = file.tellg();
  file.seekg(std::max<std::streamoff>(0, size - kLogBytes));
  return {std::istreambuf_iterator<char>(file), {}};
}

// What listens on every address is asked on this machine's own.
spec::Address reachable(spec::Address address) {
  if (address.host == "0.0.0.0") address.host = "127.0.0.1";
  if (address.host == "::" || address.host == "[::]") address.host = "::1";
  return address;
}

Result<Doors> doors_of(const spec::Spec& spec) {
  const auto direct = spec::parse_address(spec.source->app.listen);
  const auto gateway = spec::parse_address(spec.gateway.listen.front());
  if (!direct || !gateway)
    return failure(Code::kInvalidArgument, "source.app.listen or gateway.listen is no address");
  return Doors{reachable(*direct), reachable(*gateway),
               spec.gateway.public_host.value_or(spec.source->app.listen)};
}

std::vector<std::string> paths_of(const spec::Spec& spec, const spec::Migration& migration) {
  std::vector<std::string> paths = migration.adopt.paths;
  if (paths.empty()) {
    paths = {spec.source->app.health ? spec.source->app.health->path : "/", "/"};
    const std::string log = spec.gateway.access_log ? end_of(*spec.gateway.access_log) : "";
    const auto most = static_cast<std::size_t>(migration.adopt.requests);
    for (std::string& path : learned_paths(log, spec.source->app.listen, most))
      paths.push_back(std::move(path));
  }
  std::vector<std::string> once;
  for (std::string& path : paths)
    if (std::ranges::find(once, path) == once.end()) once.push_back(std::move(path));
  return once;
}

Result<ResponseDiff> look(const Doors& doors, const std::string& path) {
  const auto ask = [&](const spec::Address& address) {
    return get({.address = address, .path = path, .host = doors.host, .headers = {}},
               kAnswerPatience);
  };
  TRY(const auto before, with_context(ask(doors.direct), "the old application"));
  TRY(const auto through, with_context(ask(doors.gateway), "the gateway"));
  TRY(const auto after, with_context(ask(doors.direct), "the old application"));
  return compare_answers(before, after, through);
}

// Data moves while it is looked at: only what is not equal in any of several looks counts.
Result<ResponseDiff> look_well(const Doors& doors, const std::string& path) {
  ResponseDiff worst{.verdict = Verdict::kMoving, .what = {}};
  for (int i = 0; i < kLooks; ++i) {
    TRY(auto diff, look(doors, path));
    if (diff.verdict == Verdict::kEqual) return diff;
    if (diff.verdict == Verdict::kDifferent || worst.what.empty()) worst = std::move(diff);
  }
  return worst;
}

}  // namespace

Result<json> compare_through_gateway(const spec::Spec& spec, const spec::Migration& migration) {
  TRY(const auto doors, doors_of(spec));
  std::vector<std::string> paths = paths_of(spec, migration);
  json out = {{"wanted", migration.adopt.requests},
              {"compared", 0},
              {"equal", 0},
              {"paths", paths},
              {"different", json::array()},
              {"moving", json::array()}};
  const Mono deadline = SystemClock().now() + kWholePatience;
  int equal = 0;
  for (std::size_t i = 0; !paths.empty() && equal < migration.adopt.requests; ++i) {
    if (SystemClock().now() > deadline) break;
    const std::string path = paths[i % paths.size()];
    TRY(const auto diff, look_well(doors, path));
    if (diff.verdict == Verdict::kEqual) {
      ++equal;
      continue;
    }
    const bool different = diff.verdict == Verdict::kDifferent;
    out[different ? "different" : "moving"].push_back({{"path", path}, {"what", diff.what}});
    std::erase(paths, path);
  }
  out["equal"] = equal;
  out["compared"] = equal + static_cast<int>(out["different"].size());
  return out;
}

bool is_proven(const json& adoption) {
  return adoption.is_object() && adoption.value("different", json::array()).empty() &&
         adoption.value("equal", 0) >= adoption.value("wanted", 1);
}

}  // namespace banyan::control
