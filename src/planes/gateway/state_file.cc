#include "planes/gateway/state_file.h"

#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/durable_file.h"

namespace banyan::gateway {
namespace {

Result<nlohmann::json> parse(const std::string& path) {
  std::ifstream file(path);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  nlohmann::json parsed = nlohmann::json::parse(text, nullptr, false);
  if (parsed.is_discarded() || !parsed.is_object() || !parsed.contains("hold"))
    return failure(Code::kCorruption, fmt::format("{} is not a gateway's state", path));
  return parsed;
}

Result<GatewayState> load(const std::string& path) {
  TRY(const nlohmann::json in, parse(path));
  GatewayState state;
  if (in.contains("snapshot") && !in["snapshot"].is_null()) {
    TRY(state.snapshot, with_context(RouteSnapshot::from_json(in["snapshot"]), path));
  }
  TRY(state.hold, with_context(HoldOrder::from_json(in["hold"]), path));
  for (const auto& one : in.value("draining", nlohmann::json::array()))
    state.draining.insert({one.value("backend", ""), one.value("address", "")});
  return state;
}

// Written by another version, or damaged.
constexpr const char* kUnreadable =
    "1. Start the version of Banyan that wrote the file; a gateway that was to be upgraded goes on "
    "serving.\n2. Unless a switch is under way: move the file away and start again. The routes are "
    "published anew, and endpoints that were drained get requests again.";

}  // namespace

Result<GatewayState> StateFile::read() const {
  std::error_code error;
  if (!std::filesystem::exists(path(), error)) return GatewayState{};
  Result<GatewayState> state = load(path());
  if (!state) return std::unexpected(std::move(state).error().with_remedy(kUnreadable));
  return state;
}

Result<void> StateFile::write(const GatewayState& state) const {
  nlohmann::json out = {{"hold", state.hold.to_json()}};
  for (const auto& [backend, address] : state.draining)
    out["draining"].push_back({{"backend", backend}, {"address", address}});
  if (state.snapshot) out["snapshot"] = state.snapshot->to_json();
  return write_durably(path(), out.dump());
}

}  // namespace banyan::gateway
