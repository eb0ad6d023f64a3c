#include "app/gateway_lineage.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

namespace banyan {
namespace {

using nlohmann::json;

constexpr std::array kSummed = {"in_flight", "reads",   "writes", "streams",    "waiting",
                                "held",      "refused", "failed", "connections"};

int strength(const std::string& phase) {
  return phase == "committed" ? 2 : (phase == "revocable" ? 1 : 0);
}

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

void add(json& sum, const json& other) {
  for (const char* key : kSummed) sum[key] = sum.value(key, 0L) + other.value(key, 0L);
  sum["longest_hold_ms"] =
      std::max(sum.value("longest_hold_ms", 0L), other.value("longest_hold_ms", 0L));
  const std::string phase = other.value("phase", "open");
  if (strength(phase) < strength(sum.value("phase", "open"))) sum["phase"] = phase;
  sum["predecessors"].push_back(
      {{"pid", other.value("pid", 0)}, {"connections", other.value("connections", 0L)}});
}

}  // namespace

std::string Lineage::path_of(const std::string& socket, int pid) {
  return socket + "." + std::to_string(pid);
}

std::vector<std::string> Lineage::paths() const {
  std::vector<std::string> out;
  const std::filesystem::path socket(socket_);
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(socket.parent_path(), error)) {
    const std::string name = entry.path().filename().string();
    const std::string prefix = socket.filename().string() + ".";
    if (name.starts_with(prefix) && is_number(std::string_view(name).substr(prefix.size())))
      out.push_back(entry.path().string());
  }
  return out;
}

Result<std::vector<json>> Lineage::tell(const std::string& verb, const json& in) const {
  std::vector<json> answers;
  for (const std::string& path : paths()) {
    const rpc::Client predecessor("former gateway", path);
    auto answer = predecessor.call(verb, in);
    if (answer) {
      answers.push_back(*std::move(answer));
    } else if (predecessor.is_listening()) {
      return std::unexpected(answer.error());
    } else {
      ::unlink(path.c_str());
    }
  }
  return answers;
}

Result<json> Lineage::status(json own) const {
  own["predecessors"] = json::array();
  TRY(const auto others, tell("status", json::object()));
  for (const json& other : others) add(own, other);
  return own;
}

}  // namespace banyan
