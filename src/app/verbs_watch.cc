// why, tap, drain, undrain: one request, the requests, one endpoint.

#include <fmt/format.h>

#include <algorithm>

#include "app/cli.h"
#include "control/gateways.h"

namespace banyan {

using nlohmann::json;
using namespace nlohmann::literals;

namespace {

// Of every gateway that answers.
Result<std::vector<json>> tell_gateways(const Cli& cli, const std::string& verb, const json& in,
                                        Duration timeout = 10s) {
  TRY(const auto layout, cli.layout());
  return control::Gateways(layout).tell(verb, in, {timeout});
}

// The lists under `key` of all answers as one, each element once.
json joined(const std::vector<json>& answers, const json::json_pointer& key) {
  json out = json::array();
  for (const json& answer : answers)
    for (const json& one : answer.value(key, json::array()))
      if (std::ranges::find(out, one) == out.end()) out.push_back(one);
  return out;
}

std::unexpected<Error> not_known(std::string what, const std::vector<std::string>& known) {
  return std::unexpected(Error(Code::kNotFound, std::move(what))
                             .with_remedy(fmt::format("known: {}", fmt::join(known, ", "))));
}

long sum_of(const std::vector<json>& answers, const char* key) {
  long sum = 0;
  for (const json& answer : answers) sum += answer.value(key, 0L);
  return sum;
}

std::string human_us(const json& request, const char* key) {
  return fmt::format("{:.3f} ms", request.value(key, 0.0) / 1000);
}

// ---- why

void print_request(const json& request) {
  fmt::print("{}  {} {}{}  ->  {}\n", request.value("ts", ""), request.value("method", ""),
             request.value("host", ""), request.value("path", ""), request.value("status", 0));
  const std::string route = request.value("route", "");
  print_field("route", route.empty() ? "none matched" : route);
  const std::string endpoint = request.value("upstream", "");
  print_field("endpoint", endpoint.empty() ? "none was asked" : endpoint);
  if (request.contains("reason")) print_field("why", request.value("reason", ""));
  if (request.contains("held_us")) print_field("held", human_us(request, "held_us"));
  if (request.contains("retries")) print_field("retries", request["retries"].dump());
  if (request.contains("first_byte_us")) print_field("answer", human_us(request, "first_byte_us"));
  print_field("took", human_us(request, "us"));
  print_field("client", request.value("client", ""));
  print_field("trace", request.value("trace", ""));
}

// All write one access log: each is asked because each first writes out what it still buffers.
Exit why(const Cli& cli, const std::string& id) {
  const auto layout = cli.layout();
  if (!layout) return cli.show(layout.error());
  std::vector<json> answers;
  std::optional<Error> error;
  for (auto& [name, out] : control::Gateways(*layout).ask("request.find", {{"id", id}}, {60s})) {
    if (out)
      answers.push_back(*std::move(out));
    else
      error = out.error();
  }
  if (answers.empty()) return cli.show(*error);
  return cli.show(json{{"requests", joined(answers, "/requests"_json_pointer)}},
                  [](const json& found) {
                    for (const json& request : found.at("requests")) print_request(request);
                  });
}

// ---- tap

// "503", "5xx" or nothing.
Result<int> parse_status(const std::string& text) {
  if (text.empty()) return 0;
  const bool is_digits = text.size() == 3 && text[0] >= '1' && text[0] <= '5';
  if (is_digits && text.ends_with("xx")) return text[0] - '0';
  if (is_digits && std::isdigit(text[1]) != 0 && std::isdigit(text[2]) != 0) return std::stoi(text);
  return std::unexpected(Error(Code::kInvalidArgument, "--status " + text + " is no status")
                             .with_remedy("--status 5xx or --status 503"));
}

void print_tapped(const std::string& line) {
  const json request = json::parse(line, nullptr, false);
  if (!request.is_object()) return;
  fmt::print("{} {} {:>9} {:<7} {}{}  {} {}\n", request.value("ts", ""), request.value("status", 0),
             fmt::format("{:.1f}ms", request.value("us", 0.0) / 1000), request.value("method", ""),
             request.value("host", ""), request.value("path", ""), request.value("route", "-"),
             request.value("upstream", "-"));
}

// A name that no route has would be waited for in vain.
Result<void> check_route(const Cli& cli, const std::string& id) {
  if (id.empty()) return {};
  TRY(const auto snapshots, tell_gateways(cli, "snapshot.get", json::object()));
  std::vector<std::string> known;
  for (const json& route : joined(snapshots, "/snapshot/routes"_json_pointer)) {
    known.push_back(route.value("id", ""));
    if (known.back() == id) return {};
  }
  return not_known("no route is called " + id, known);
}

// Until interrupted, or `count` lines were shown.
Exit tap(const Cli& cli, const std::string& route, const std::string& status, int count) {
  const auto wanted = parse_status(status);
  if (!wanted) return cli.show(wanted.error());
  if (const auto checked = check_route(cli, route); !checked) return cli.show(checked.error());
  const json in = {{"route", route}, {"status", *wanted}, {"wait_ms", 1000}};
  for (int shown = 0; count == 0 || shown < count;) {
    const auto answers = tell_gateways(cli, "tap", in);
    if (!answers) return cli.show(answers.error());
    for (const json& answer : *answers) {
      for (const json& line : answer.at("lines")) {
        if (count != 0 && shown++ >= count) break;
        if (cli.as_json)
          fmt::print("{}\n", line.get<std::string>());
        else
          print_tapped(line.get<std::string>());
      }
    }
    if (const auto dropped = sum_of(*answers, "dropped"); dropped > 0)
      fmt::print(stderr, "({} more were not shown)\n", dropped);
    std::fflush(stdout);
  }
  return Exit::kOk;
}

// ---- one endpoint

struct EndpointArguments {
  std::string backend;
  std::string address;
  int timeout_s = 60;
  bool force = false;
  json call() const { return {{"backend", backend}, {"address", address}}; }
};

// {address, draining, ...} of the backend's endpoints, or which backends there are.
Result<json> endpoints_of(const Cli& cli, const std::string& backend) {
  TRY(const auto layout, cli.layout());
  TRY(const auto backends, control::Gateways(layout).backends());
  std::vector<std::string> known;
  for (const json& one : backends) {
    if (one.at("name") == backend) return one.at("endpoints");
    known.push_back(one.at("name"));
  }
  return not_known("no backend is called " + backend, known);
}

// kNotFound names what there is; kConflict: without it nobody would be left to answer.
Result<void> check_endpoint(const Cli& cli, const EndpointArguments& in, bool may_be_last) {
  TRY(const auto endpoints, endpoints_of(cli, in.backend));
  std::vector<std::string> known;
  bool has_other = false;
  for (const json& one : endpoints) {
    known.push_back(one.at("address"));
    has_other = has_other || (known.back() != in.address && !one.value("draining", false));
  }
  if (std::ranges::find(known, in.address) == known.end())
    return not_known(in.backend + " has no endpoint " + in.address, known);
  if (has_other || may_be_last) return {};
  return std::unexpected(
      Error(Code::kConflict,
            fmt::format("{} is the last endpoint of {} that gets requests", in.address, in.backend))
          .with_remedy("1. Start another one first. 2. --force: its requests are answered 503."));
}

Exit drain(const Cli& cli, const EndpointArguments& args) {
  const auto& [backend, address, timeout_s, force] = args;
  if (const auto checked = check_endpoint(cli, args, force); !checked)
    return cli.show(checked.error());
  json in = args.call();
  in["timeout_ms"] = timeout_s * 1000L;
  const auto answers =
      tell_gateways(cli, "endpoint.drain", in, std::chrono::seconds(timeout_s) + 10s);
  if (!answers) return cli.show(answers.error());
  const long active = sum_of(*answers, "active");
  if (active > 0)
    return cli.show(
        Error(Code::kTimeout,
              fmt::format("{} requests are still inside {}; it gets no new ones", active, address))
            .with_remedy("banyan drain again to wait longer, or banyan undrain"));
  return cli.show(json{{"drained", true}, {"active", 0}}, [&](const json&) {
    fmt::print("{} is empty and gets no requests.\nNext: banyan undrain {} {}\n", address, backend,
               address);
  });
}

Exit undrain(const Cli& cli, const EndpointArguments& args) {
  if (const auto checked = check_endpoint(cli, args, true); !checked)
    return cli.show(checked.error());
  const auto answers = tell_gateways(cli, "endpoint.undrain", args.call());
  if (!answers) return cli.show(answers.error());
  return cli.show(json::object(),
                  [&](const json&) { fmt::print("{} gets requests again.\n", args.address); });
}

void add_endpoint_verbs(CLI::App& app, Cli& cli) {
  auto in = std::make_shared<EndpointArguments>();
  auto* drain_verb =
      app.add_subcommand("drain", "take one endpoint out and wait until it is empty");
  auto* undrain_verb = app.add_subcommand("undrain", "let an endpoint have requests again");
  for (CLI::App* verb : {drain_verb, undrain_verb}) {
    verb->add_option("BACKEND", in->backend, "as in `banyan route ls`")->required();
    verb->add_option("ADDRESS", in->address, "as in `banyan ps`")->required();
  }
  drain_verb->add_option("--timeout", in->timeout_s, "seconds to wait (default 60)")
      ->check(CLI::Range(1, 86'400));
  drain_verb->add_flag("--force", in->force, "even if nobody is left to answer");
  drain_verb->callback([&cli, in] { cli.exit = drain(cli, *in); });
  undrain_verb->callback([&cli, in] { cli.exit = undrain(cli, *in); });
}

}  // namespace

void add_watch_verbs(CLI::App& app, Cli& cli) {
  auto* why_verb = app.add_subcommand("why", "what became of one request, and why");
  auto id = std::make_shared<std::string>();
  why_verb->add_option("REQUEST-ID", *id, "its X-Request-Id or trace id")->required();
  why_verb->callback([&cli, id] { cli.exit = why(cli, *id); });

  auto* tap_verb = app.add_subcommand("tap", "the requests as they end");
  auto route = std::make_shared<std::string>();
  auto status = std::make_shared<std::string>();
  auto count = std::make_shared<int>(0);
  tap_verb->add_option("--route", *route, "only of this route");
  tap_verb->add_option("--status", *status, "only 503, or 5xx");
  tap_verb->add_option("-n,--count", *count, "end after so many")->check(CLI::Range(1, 1'000'000));
  tap_verb->callback(
      [&cli, route, status, count] { cli.exit = tap(cli, *route, *status, *count); });
  add_endpoint_verbs(app, cli);
}

}  // namespace banyan
