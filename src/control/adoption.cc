#include "control/adoption.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <optional>

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

// One address of the gateway.
struct Door {
  spec::Address address;
  std::string tls_name;  // empty: without TLS
  bool sends_hsts = false;
};

// Where the same request is asked: of the old application itself, and of the gateway.
struct Doors {
  spec::Address direct;
  std::vector<Door> gateway;
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

// Empty where a request is not passed on as it is, or not from us.
std::optional<Door> door_at(const spec::Gateway& gateway, const std::string& address,
                            const std::string& host) {
  const auto parsed = spec::parse_address(address);
  if (!parsed) return std::nullopt;
  Door door{.address = reachable(*parsed), .tls_name = {}};
  const auto found = gateway.listeners.find(address);
  if (found == gateway.listeners.end()) return door;
  const spec::Listener& listener = found->second;
  const bool wants_certificate = listener.tls && listener.tls->client_certificates == "required";
  if (listener.redirect_https_port != 0 || wants_certificate) return std::nullopt;
  if (listener.tls) door.tls_name = host.substr(0, host.rfind(':'));
  door.sends_hsts = listener.hsts_s != 0;
  return door;
}

Result<Doors> doors_of(const spec::Spec& spec) {
  const auto direct = spec::parse_address(spec.source->app.listen);
  if (!direct) return failure(Code::kInvalidArgument, "source.app.listen is no address");
  Doors doors{.direct = reachable(*direct),
              .gateway = {},
              .host = spec.gateway.public_host.value_or(spec.source->app.listen)};
  for (const std::string& address : spec.gateway.listen)
    if (auto door = door_at(spec.gateway, address, doors.host))
      doors.gateway.push_back(*std::move(door));
  if (!doors.gateway.empty()) return doors;
  return std::unexpected(
      Error(Code::kInvalidArgument,
            "no address of the gateway can be compared: each redirects or wants a certificate")
          .with_remedy("add one that does neither to gateway.listen, such as 127.0.0.1:8080"));
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

// Through TLS the application is told of https, so it is told the same when it is asked directly.
Result<ResponseDiff> look(const Doors& doors, const Door& door, const std::string& path) {
  ProbeRequest direct{.address = doors.direct, .path = path, .host = doors.host};
  ProbeRequest gateway{.address = door.address, .path = path, .host = doors.host};
  gateway.tls_name = door.tls_name;
  if (!door.tls_name.empty()) direct.headers = {{"X-Forwarded-Proto", "https"}};
  const auto ask_direct = [&] {
    return with_context(get(direct, kAnswerPatience), "the old application");
  };
  TRY(const auto before, ask_direct());
  TRY(auto through, with_context(get(gateway, kAnswerPatience), "the gateway"));
  TRY(const auto after, ask_direct());
  if (door.sends_hsts)  // the operator wants it
    std::erase_if(through.headers,
                  [](const auto& field) { return field.first == "strict-transport-security"; });
  return compare_answers(before, after, through);
}

// Data moves while it is looked at: only what is not equal in any of several looks counts.
Result<ResponseDiff> look_well(const Doors& doors, const Door& door, const std::string& path) {
  ResponseDiff worst{.verdict = Verdict::kMoving, .what = {}};
  for (int i = 0; i < kLooks; ++i) {
    TRY(auto diff, look(doors, door, path));
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
    // Every path at every address, in the end.
    const Door& door = doors.gateway[(i + i / paths.size()) % doors.gateway.size()];
    TRY(const auto diff, look_well(doors, door, path));
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
