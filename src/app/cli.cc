#include "app/cli.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <utility>

namespace banyan {

using nlohmann::json;

namespace {

Exit exit_for(Code code) {
  return code == Code::kConflict ? Exit::kPrecondition : Exit::kError;
}

json error_json(const Error& error) {
  return {{"error",
           {{"code", code_name(error.code())},
            {"message", error.message()},
            {"remedy", error.remedy()}}}};
}

// The sentences of a remedy that is written as "1. Do this. 2. Or that."; else the whole of it.
// What stands before the first number is said by `lead`.
std::vector<std::string> ways_out(std::string_view remedy, std::string& lead) {
  std::vector<std::string> ways;
  if (const auto first = remedy.find("\n1. "); first != std::string_view::npos) {
    lead = remedy.substr(0, first);
    remedy.remove_prefix(first + 1);
  }
  if (remedy.starts_with("1. ")) remedy.remove_prefix(3);
  while (!remedy.empty()) {
    const auto next = fmt::format("{}. ", ways.size() + 2);
    const auto end = std::min(remedy.find(" " + next), remedy.find("\n" + next));
    ways.emplace_back(remedy.substr(0, end));
    remedy.remove_prefix(std::min(remedy.size(), ways.back().size() + 1 + next.size()));
  }
  return ways;
}

}  // namespace

Result<json> Cli::control(const std::string& verb, const json& in, Duration timeout) const {
  TRY(const auto layout, this->layout());
  return rpc::Client("control", layout.socket("control")).call(verb, in, timeout);
}

Exit Cli::show(const Error& error) const {
  if (as_json) {
    fmt::print("{}\n", error_json(error).dump(2));
  } else {
    fmt::print(stderr, "error: {}\n", error.message());
    print_ways(stderr, error.remedy());
  }
  return exit_for(error.code());
}

Exit Cli::show(const nlohmann::json& out,
               const std::function<void(const nlohmann::json&)>& human) const {
  if (as_json) {
    fmt::print("{}\n", out.dump(2));
  } else {
    human(out);
  }
  return Exit::kOk;
}

bool is_terminal() {
  return ::isatty(STDOUT_FILENO) == 1;
}

std::string human_bytes(double bytes) {
  constexpr std::array kUnits = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (bytes >= 1000 && unit + 1 < kUnits.size()) {
    bytes /= 1000;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, kUnits[unit]);
}

std::string human_seconds(double seconds) {
  if (seconds < 1) return fmt::format("{:.0f} ms", seconds * 1000);
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  const long whole = static_cast<long>(seconds);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole / 60 % 60);
}

void print_field(std::string_view label, std::string_view value) {
  fmt::print("  {:<22} {}\n", label, value);
}

void print_ways(FILE* to, std::string_view remedy) {
  std::string lead;
  const auto ways = ways_out(remedy, lead);
  if (!lead.empty()) fmt::print(to, "   {}\n", lead);
  int number = 0;
  for (const auto& way : ways) fmt::print(to, "   {}  {}\n", ++number, way);
}

void print_names(const char* label, const json& names) {
  for (const json& name : names) print_field(std::exchange(label, ""), name.get<std::string>());
}

}  // namespace banyan
