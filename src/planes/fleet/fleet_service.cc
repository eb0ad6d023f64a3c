#include "planes/fleet/fleet_service.h"

namespace banyan::fleet {

using nlohmann::json;

namespace {

constexpr Duration kTickInterval = 25ms;
constexpr long kStopWaitMs = 45'000;

json answered() {
  return json::object();
}

}  // namespace

Result<std::unique_ptr<FleetService>> FleetService::open(store::StateStore& store,
                                                         const Clock& clock,
                                                         const std::string& directory) {
  TRY(auto fleet, Fleet::open(store, clock, directory));
  return std::make_unique<FleetService>(std::move(fleet), clock);
}

FleetService::FleetService(std::unique_ptr<Fleet> fleet, const Clock& clock)
    : clock_(clock), fleet_(std::move(fleet)) {
  keeper_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void FleetService::run(const std::stop_token& stop) {
  HealthProbe probe(clock_);
  while (!stop.stop_requested()) {
    const auto outcomes = probe.run(kTickInterval);
    const auto due = fleet_.with([&](Owned& fleet) {
      fleet->tick(outcomes);
      return fleet->due_probes();
    });
    for (const ProbeTarget& target : due) probe.begin(target);
  }
}

Result<json> FleetService::apply(const json& in) {
  TRY_VOID(fleet_.with([&](Owned& fleet) { return fleet->apply(in.at("services")); }));
  return answered();
}

Result<json> FleetService::status(const json&) {
  return fleet_.with([](Owned& fleet) { return fleet->status(); });
}

Result<json> FleetService::stop(const json& in) {
  const std::string service = in.value("service", "");
  const Mono deadline = clock_.now() + in.value("wait_ms", kStopWaitMs) * 1ms;
  TRY_VOID(fleet_.with([&](Owned& fleet) { return fleet->stop(service); }));
  while (fleet_.with([&](Owned& fleet) { return fleet->has_instances(service); })) {
    if (clock_.now() >= deadline)
      return failure(Code::kTimeout, "instances are still stopping", Retry::kSafe);
    std::this_thread::sleep_for(kTickInterval);
  }
  return answered();
}

Result<json> FleetService::drained(const json& in) {
  TRY_VOID(fleet_.with([&](Owned& fleet) { return fleet->drained(in.value("id", "")); }));
  return answered();
}

}  // namespace banyan::fleet
