#pragma once
// Items: what `assess` found, in the order in which a person should read it. Values.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace banyan::control {

enum class Severity : std::uint8_t {
  kMust,      // the move would break something; a migration does not start while one is open
  kConfig,    // works once something is configured, or deserves a look
  kOptional,  // better, not needed
};

struct Item {
  std::string id;  // stable: "django.secret_key"
  Severity severity = Severity::kConfig;
  std::string title;
  std::string where;  // "eaglebox/settings.py:31", an address or a table
  std::string why;
  std::string remedy;  // "do" in JSON
};

class Items {
 public:
  void add(Item item) { list_.push_back(std::move(item)); }
  const std::vector<Item>& list() const { return list_; }
  int count(Severity severity) const;
  // The `must` items first; within a severity in the order of finding.
  nlohmann::json to_json() const;

 private:
  std::vector<Item> list_;
};

}  // namespace banyan::control
