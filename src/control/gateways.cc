#include "control/gateways.h"

#include <algorithm>
#include <thread>

namespace banyan::control {
namespace {

// Nobody is there, or is in a state to answer; else it answered with a refusal.
bool is_missing(const Gateways::Answer& answer) {
  return !answer.out && answer.out.error().retry() == Retry::kSafe;
}

}  // namespace

Gateways::Gateways(const Layout& layout) {
  for (const std::string& name : layout.gateways())
    clients_.emplace_back(name, layout.socket(name));
}

std::vector<Gateways::Answer> Gateways::ask(const std::string& verb, const json& in,
                                            const Patience& patience) const {
  std::vector<Answer> answers(clients_.size());
  const auto ask_one = [&](std::size_t i) {
    answers[i] = {clients_[i].role(),
                  clients_[i].call(verb, in, patience.with(clients_[i].role()))};
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < clients_.size(); ++i) others.emplace_back(ask_one, i);
    ask_one(0);
  }
  return answers;
}

Result<std::vector<Gateways::json>> Gateways::insist(const std::string& verb, const json& in,
                                                     const Patience& patience) const {
  std::vector<json> outs;
  for (Answer& answer : ask(verb, in, patience)) {
    TRY(json out, std::move(answer.out));
    outs.push_back(std::move(out));
  }
  return outs;
}

Result<std::vector<Gateways::json>> Gateways::tell(const std::string& verb, const json& in,
                                                   const Patience& patience) const {
  auto answers = ask(verb, in, patience);
  const bool nobody = std::ranges::all_of(answers, is_missing);
  std::vector<json> outs;
  for (Answer& answer : answers) {
    if (!nobody && is_missing(answer)) continue;
    TRY(json out, std::move(answer.out));
    outs.push_back(std::move(out));
  }
  return outs;
}

Result<std::int64_t> Gateways::epoch() const {
  TRY(const auto statuses, tell("status", json::object(), {}));
  std::int64_t newest = 0;
  for (const json& status : statuses)
    newest = std::max(newest, status.value("epoch", std::int64_t{0}));
  return newest;
}

Result<Gateways::json> Gateways::backends() const {
  TRY(const auto statuses, tell("status", json::object(), {}));
  return statuses.front().value("backends", json::array());
}

}  // namespace banyan::control
