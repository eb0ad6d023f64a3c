#include "control/connection_budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <sstream>
#include <vector>

namespace banyan::control {
namespace {

std::vector<std::string> words_of(std::string_view command) {
  std::istringstream stream{std::string(command)};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

int number_in(std::string_view text, int otherwise) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && number > 0 ? number : otherwise;
}

// The value of "-w 2", "-w2" is not taken, "--workers 2" or "--workers=2"; 1 when absent.
int option(const std::vector<std::string>& words, std::string_view brief, std::string_view full) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string_view word = words[i];
    const bool named = (!brief.empty() && word == brief) || word == full;
    if (named && i + 1 < words.size()) return number_in(words[i + 1], 1);
    const bool joined = word.starts_with(full) && word.substr(full.size()).starts_with('=');
    if (joined) return number_in(word.substr(full.size() + 1), 1);
  }
  return 1;
}

}  // namespace

int connections_per_instance(std::string_view command) {
  const auto words = words_of(command);
  if (command.find("gunicorn") != std::string_view::npos) {
    return option(words, "-w", "--workers") * option(words, "", "--threads");
  }
  if (command.find("uwsgi") != std::string_view::npos) {
    return option(words, "-p", "--processes") * option(words, "", "--threads");
  }
  if (command.find("puma") != std::string_view::npos) return option(words, "-w", "--workers");
  return option(words, "", "--workers");
}

void check_connection_budget(const spec::Spec& spec, const std::string& database,
                             int max_connections, Items& items) {
  int needed = 0;
  for (const auto& [name, service] : spec.services) {
    const bool bound = std::ranges::any_of(service.bind, [&](const spec::Bind& bind) {
      return bind.kind == spec::Bind::Kind::kDatabase && bind.name == database;
    });
    if (bound) needed += service.instances.max * connections_per_instance(service.command);
  }
  if (needed + kReservedConnections <= max_connections) return;
  items.add(
      {"database.connections", Severity::kConfig,
       fmt::format("the services may need {} connections, {} are allowed", needed, max_connections),
       "databases." + database,
       fmt::format("at instances.max, each copy with all its workers busy; {} stay reserved",
                   kReservedConnections),
       "raise max_connections, lower instances.max or the workers, or put a pooler between"});
}

}  // namespace banyan::control
