#include "app/usage.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "spec/value.h"

namespace banyan {
namespace {

// How far the verbs of a command line are known, and the options that may follow them.
struct Place {
  const CLI::App* verb;
  std::string command = "banyan";
  std::vector<std::string> options = {"--help"};

  void enter(const CLI::App* next) {
    verb = next;
    for (const CLI::Option* option : verb->get_options())
      for (const auto& name : option->get_lnames()) options.push_back("--" + name);
  }
  bool takes_verbs() const { return !verb->get_subcommands(nullptr).empty(); }
  std::vector<std::string> verbs() const {
    std::vector<std::string> names;
    for (const CLI::App* one : verb->get_subcommands(nullptr)) names.push_back(one->get_name());
    return names;
  }
};

Error unknown(const Place& place, const std::string& what, const std::string& word,
              const std::vector<std::string>& known) {
  const std::string help = place.command + " --help";
  const auto near = spec::nearest(word, known);
  Error error(Code::kInvalidArgument,
              fmt::format("{}: there is no {} {}", place.command, what, word));
  if (near.empty() || near == "--help") return std::move(error).with_remedy(help);
  return std::move(error).with_remedy(fmt::format("1. {} {}\n2. {}", place.command, near, help));
}

}  // namespace

Error usage_error(const CLI::App& app, std::span<const std::string> words,
                  const std::string& complaint) {
  Place place{.verb = nullptr};
  place.enter(&app);
  for (const std::string& whole : words) {
    const std::string word = whole.substr(0, whole.find('='));
    if (word.starts_with("--") && word.size() > 2) {
      if (std::ranges::find(place.options, word) == place.options.end())
        return unknown(place, "option", word, place.options);
    } else if (place.takes_verbs() && !word.starts_with("-")) {
      const auto verbs = place.verbs();
      if (std::ranges::find(verbs, word) == verbs.end()) return unknown(place, "verb", word, verbs);
      place.enter(place.verb->get_subcommand(word));
      place.command += " " + word;
    }
  }
  return Error(Code::kInvalidArgument, fmt::format("{}: {}", place.command, complaint))
      .with_remedy(place.command + " --help");
}

}  // namespace banyan
