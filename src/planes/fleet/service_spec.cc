#include <arpa/inet.h>
#include <fmt/format.h>

#include <set>

#include "planes/fleet/fleet.h"

namespace banyan::fleet {

using nlohmann::json;

namespace {

constexpr int kInstancesMax = 200;

// FNV-1a: the same in every build, so that a newer agent does not take its instances for other
// ones.
std::string fingerprint(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

// What makes an instance another one: changing it replaces the running ones.
std::string revision_of(const json& in) {
  const std::string text = json::array({in.value("command", json()), in.value("cwd", ""),
                                        in.value("env", json::object())})
                               .dump();
  return fingerprint(text);
}

Result<Zone> zone_from_json(const json& in) {
  Zone zone{.name = in.value("name", ""), .address_base = in.value("address_base", "")};
  in_addr address;
  if (zone.name.empty() || ::inet_pton(AF_INET, (zone.address_base + "1").c_str(), &address) != 1)
    return std::unexpected(
        Error(Code::kInvalidArgument, "zone '" + zone.name + "' has no addresses")
            .with_remedy("Give it an address_base such as 127.0.1."));
  return zone;
}

std::vector<std::string> command_of(const json& in) {
  if (in.is_string()) return {in.get<std::string>()};
  return in.is_array() ? in.get<std::vector<std::string>>() : std::vector<std::string>();
}

ServiceWish wish_of(const json& in) {
  ServiceWish wish;
  wish.name = in.value("name", "");
  wish.revision = revision_of(in);
  wish.instances = in.value("instances", 1);
  wish.min_per_zone = in.value("min_per_zone", 0);
  wish.start_max = in.value("start_timeout_ms", 60'000L) * 1ms;
  wish.unhealthy_max = in.value("unhealthy_timeout_ms", 30'000L) * 1ms;
  wish.drain = in.value("drain_ms", 1000L) * 1ms;
  wish.stop_grace = in.value("stop_grace_ms", 10'000L) * 1ms;
  return wish;
}

Result<void> check(const ServiceSpec& service) {
  const auto bad = [&](const std::string& what) {
    return failure(Code::kInvalidArgument, "service '" + service.wish.name + "': " + what);
  };
  if (service.wish.name.empty()) return bad("a service needs a name");
  if (service.command.empty() || service.command[0].empty()) return bad("it needs a command");
  if (service.zones.empty()) return bad("it needs at least one zone");
  if (service.wish.instances < 0 || service.wish.instances > kInstancesMax)
    return bad(fmt::format("instances is 0 to {}", kInstancesMax));
  if (service.wish.min_per_zone < 0 || service.wish.min_per_zone > kInstancesMax)
    return bad(fmt::format("min_per_zone is 0 to {}", kInstancesMax));
  return {};
}

Result<ServiceSpec> service_from_json(const json& in) {
  ServiceSpec service;
  service.wish = wish_of(in);
  service.command = command_of(in.value("command", json()));
  service.cwd = in.value("cwd", "");
  service.env = in.value("env", std::map<std::string, std::string>());
  for (const json& each : in.value("zones", json::array())) {
    TRY(service.zones.emplace_back(), zone_from_json(each));
    service.wish.zones.push_back(service.zones.back().name);
  }
  const json health = in.value("health", json::object());
  service.health_path = health.value("path", "");
  service.health_timeout = health.value("timeout_ms", 2000L) * 1ms;
  if (health.contains("host") && health["host"].is_string()) service.health_host = health["host"];
  TRY_VOID(check(service));
  return service;
}

}  // namespace

Result<std::vector<ServiceSpec>> services_from_json(const json& in) {
  std::vector<ServiceSpec> services;
  std::set<std::string> names;
  for (const json& each : in) {
    TRY(auto service, service_from_json(each));
    if (!names.insert(service.wish.name).second)
      return failure(Code::kInvalidArgument, "two services are named '" + service.wish.name + "'");
    services.push_back(std::move(service));
  }
  return services;
}

}  // namespace banyan::fleet
