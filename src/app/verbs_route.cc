// route ls, route explain: who serves what, and why.

#include <fmt/format.h>

#include <algorithm>

#include "app/cli.h"
#include "control/gateways.h"
#include "control/routing.h"
#include "planes/gateway/route_table.h"
#include "spec/spec.h"
#include "wire/http/path.h"

namespace banyan {

using nlohmann::json;

namespace {

// "3", "3, 1 drained", "2, 1 drained, 1 down".
std::string endpoints_text(const json& endpoints) {
  const auto count = [&](auto&& is_so) { return std::ranges::count_if(endpoints, is_so); };
  const auto drained = count([](const json& one) { return one.value("draining", false); });
  const auto down = count([](const json& one) { return !one.value("healthy", true); });
  std::string text = std::to_string(endpoints.size());
  if (drained > 0) text += fmt::format(", {} drained", drained);
  if (down > 0) text += fmt::format(", {} down", down);
  return text;
}

void print_routes(const json& out) {
  const json snapshot = out.value("snapshot", json::object());
  std::map<std::string, json> endpoints;
  for (const json& backend : out.at("backends"))
    endpoints[backend.at("name")] = backend.at("endpoints");
  fmt::print("  epoch {}\n  {:<32} {:<12} {}\n", snapshot.value("epoch", 0L), "ROUTE", "TO",
             "ENDPOINTS");
  for (const json& route : snapshot.value("routes", json::array())) {
    const std::string to = route.value("to", "");
    fmt::print("  {:<32} {:<12} {}\n", route.value("id", ""), to.empty() ? "-" : to,
               endpoints_text(endpoints[to]));
  }
}

std::int64_t epoch_of(const json& out) {
  const json& snapshot = out.at("snapshot");
  return snapshot.is_object() ? snapshot.value("epoch", std::int64_t{0}) : 0;
}

// {snapshot} of the gateway that has the newest one.
Result<json> newest_snapshot(const control::Layout& layout) {
  TRY(const auto snapshots, control::Gateways(layout).tell("snapshot.get", json::object(), {}));
  return *std::ranges::max_element(snapshots, {}, epoch_of);
}

// {snapshot, backends}: what is in force, and how its endpoints are.
Result<json> routes_in_force(const Cli& cli) {
  TRY(const auto layout, cli.layout());
  TRY(auto out, newest_snapshot(layout));
  TRY(const auto backends, control::Gateways(layout).backends());
  out["backends"] = backends;
  return out;
}

Exit list(const Cli& cli) {
  const auto out = routes_in_force(cli);
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_routes);
}

// The routes in force; those of the spec while no gateway runs.
Result<gateway::RouteSnapshot> routes_to_explain(const Cli& cli) {
  TRY(const auto layout, cli.layout());
  const auto out = newest_snapshot(layout);
  if (out && out->at("snapshot").is_object())
    return gateway::RouteSnapshot::from_json(out->at("snapshot"));
  TRY(const auto spec, spec::require_spec(cli.spec_file));
  return gateway::RouteSnapshot::from_json(control::route_snapshot(spec, json::object(), {}, 0));
}

struct Question {
  std::string method;
  std::string url;
  std::vector<std::string> headers;
  std::string from = "127.0.0.1";
};

std::vector<http::Field> fields_of(const std::vector<std::string>& headers) {
  std::vector<http::Field> out;
  for (const std::string& header : headers) {
    const std::string_view text(header);
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) continue;
    std::string_view value = text.substr(colon + 1);
    while (value.starts_with(' ')) value.remove_prefix(1);
    out.push_back({text.substr(0, colon), value, http::FieldId::kOther, false});
  }
  return out;
}

// "https://docs.example/a?b" or "/a?b".
struct Target {
  std::string_view host;
  std::string_view path;
};

Target target_of(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (url.starts_with('/') || scheme == std::string_view::npos) return {{}, url};
  url.remove_prefix(scheme + 3);
  const std::size_t slash = std::min(url.find('/'), url.size());
  return {gateway::host_without_port(url.substr(0, slash)),
          slash == url.size() ? "/" : url.substr(slash)};
}

std::string action_of(const gateway::RouteSpec& route) {
  if (route.rules.redirect)
    return fmt::format("redirects ({}) to {}", route.rules.redirect->status,
                       route.rules.redirect->location);
  if (route.rules.respond) return fmt::format("answers {}", route.rules.respond->status);
  if (route.rules.weights.empty()) return "goes to " + route.to;
  std::string out = "goes to one of";
  for (const auto& weight : route.rules.weights)
    out += fmt::format(" {} ({})", weight.to, weight.share);
  return out;
}

Result<json> explained(const gateway::RouteSnapshot& snapshot, const Question& question) {
  const Target target = target_of(question.url);
  std::string scratch;
  const auto path = http::normal_path(target.path, scratch);
  if (!path || !path->starts_with('/'))
    return failure(Code::kInvalidArgument, "the path is malformed: the gateway answers 400");
  const auto fields = fields_of(question.headers);
  const std::size_t query = target.path.find('?');
  const gateway::RequestFacts facts{
      .method = question.method,
      .host = target.host,
      .path = *path,
      .query = query == std::string_view::npos ? std::string_view() : target.path.substr(query + 1),
      .client_ip = question.from,
      .fields = fields};
  const gateway::RouteTable table(snapshot.routes);
  json out = {{"path", *path}, {"considered", json::array()}, {"route", nullptr}};
  for (const auto& verdict : table.explain(facts))
    out["considered"].push_back({{"route", verdict.route}, {"why_not", verdict.why_not}});
  if (const gateway::Route* route = table.match(facts)) {
    out["route"] = route->spec.id;
    out["action"] = action_of(route->spec);
  }
  return out;
}

void print_explained(const json& out) {
  for (const json& verdict : out.at("considered")) {
    const std::string why_not = verdict.value("why_not", "");
    fmt::print("  {} {:<40} {}\n", why_not.empty() ? "*" : " ", verdict.value("route", ""),
               why_not.empty() ? out.value("action", "") : why_not);
  }
  if (out.at("route").is_null())
    fmt::print("No route matches {}: the gateway answers 404.\n", out.value("path", ""));
}

Exit explain(const Cli& cli, const Question& question) {
  const auto snapshot = routes_to_explain(cli);
  if (!snapshot) return cli.show(snapshot.error());
  const auto out = explained(*snapshot, question);
  if (!out) return cli.show(out.error());
  return cli.show(*out, print_explained);
}

}  // namespace

void add_route_verbs(CLI::App& app, Cli& cli) {
  auto* route = app.add_subcommand("route", "the gateway's routes");
  route->require_subcommand(1);
  route->add_subcommand("ls", "who serves what")->callback([&cli] { cli.exit = list(cli); });
  auto* verb = route->add_subcommand("explain", "which route a request takes, and why");
  auto question = std::make_shared<Question>();
  verb->add_option("METHOD", question->method, "GET, POST, ...")->required();
  verb->add_option("URL", question->url, "https://host/path?query, or /path?query")->required();
  verb->add_option("-H,--header", question->headers, "\"Name: value\" of the request");
  verb->add_option("--from", question->from, "the client's address (default 127.0.0.1)");
  verb->callback([&cli, question] { cli.exit = explain(cli, *question); });
}

}  // namespace banyan
