#include "control/assessment.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace banyan::control {
namespace {

std::string_view severity_name(Severity severity) {
  static constexpr std::array<std::string_view, 3> kNames = {"must", "config", "optional"};
  return kNames.at(static_cast<std::size_t>(severity));
}

nlohmann::json json_of(const Item& item) {
  return {{"id", item.id},       {"severity", severity_name(item.severity)},
          {"title", item.title}, {"where", item.where},
          {"why", item.why},     {"do", item.remedy}};
}

}  // namespace

int Items::count(Severity severity) const {
  return static_cast<int>(std::ranges::count(list_, severity, &Item::severity));
}

nlohmann::json Items::to_json() const {
  auto out = nlohmann::json::array();
  for (const auto severity : {Severity::kMust, Severity::kConfig, Severity::kOptional}) {
    for (const Item& item : list_) {
      if (item.severity == severity) out.push_back(json_of(item));
    }
  }
  return out;
}

}  // namespace banyan::control
