#include "spec/load_route.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "spec/value.h"
#include "spec/yaml_fields.h"

namespace banyan::spec {
namespace {

void take_match(Reader& reader, std::string_view key, const std::string& text, Route& route) {
  auto match = parse_match(text);
  if (!match) {
    reader.problem("BY-0313", key, fmt::format("\"{}\" is not a match", text),
                   "write METHOD /path, with :name for one part and * for the rest at the end");
    return;
  }
  route.methods = std::move(match->methods);
  route.path = std::move(match->path);
}

// The match as a mapping.
void read_match(Reader& reader, Route& route) {
  const auto path = reader.text({"path", "\"/progress/:id\", \"/static/*\", ...", Need::kRequired});
  if (!path.empty()) take_match(reader, "path", path, route);
  const auto methods = reader.texts({"methods", "Only these methods"});
  if (!methods.empty())
    take_match(reader, "methods", fmt::format("{} /", fmt::join(methods, ",")), route);
  if (!path.empty()) route.path = path.substr(path.rfind(' ') + 1);
  route.host = reader.optional_text({"host", "Only this host name; *.example.org: all below it"});
  YamlFields fields(reader);
  describe(fields, route.rules.when);
}

std::string conditions(const RouteWhen& when) {
  std::string out;
  for (const NameValue& header : when.headers)
    out += fmt::format(" {}:{}", header.name, header.value);
  for (const NameValue& query : when.query) out += fmt::format(" ?{}={}", query.name, query.value);
  for (const std::string& source : when.sources) out += " @" + source;
  return out;
}

std::string match_id(const Route& route) {
  const std::string id = RouteMatch{route.methods, route.path}.id();
  return (route.host ? *route.host + " " : "") + id + conditions(route.rules.when);
}

void lower(std::string& text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  }
}

void check_host(Reader& reader, const Route& route) {
  if (!route.host) return;
  const std::string_view host = *route.host;
  const auto star = host.rfind('*');
  const bool fine =
      !host.empty() && host.find_first_of(" /:") == std::string_view::npos &&
      (star == std::string_view::npos || (star == 0 && host.starts_with("*.") && host.size() > 2));
  if (!fine)
    reader.problem("BY-0313", "host", fmt::format("\"{}\" is not a host name", host),
                   "write docs.example.org, or *.example.org for all below it");
}

// Exactly one of the four says what happens to a request.
void check_action(Reader& reader, const Route& route) {
  const int actions = (route.to.empty() ? 0 : 1) + (route.rules.weights.empty() ? 0 : 1) +
                      (route.rules.redirect ? 1 : 0) + (route.rules.respond ? 1 : 0);
  if (actions == 1) return;
  reader.problem(
      actions == 0 ? "BY-0310" : "BY-0333", "",
      actions == 0 ? "says not what to do with the requests" : "says more than one thing to do",
      "give one of to, weights, redirect and respond");
}

void check_rules(Reader& reader, const Route& route) {
  const RouteRules& rules = route.rules;
  if (rules.rewrite && rules.rewrite->prefix && !route.path.ends_with("/*"))
    reader.problem("BY-0313", "rewrite", "a prefix is rewritten only where the match ends in /*",
                   "end the match in /*, or remove rewrite.prefix");
  const auto has_share = [](const Weight& weight) { return weight.share > 0; };
  if (!rules.weights.empty() && std::ranges::none_of(rules.weights, has_share))
    reader.problem("BY-0313", "weights", "all shares are 0", "give one a share");
  if (rules.sticky && rules.weights.empty())
    reader.problem("BY-0333", "sticky", "there are no weights to choose by", "add weights");
}

}  // namespace

Route read_route(Reader& reader) {
  Route route;
  route.at = reader.at();
  const auto text = reader.text_or_mapping(
      {"match", "\"GET /progress/:id\", \"/static/*\", ..., or a mapping", Need::kRequired},
      [&](Reader& inner) { read_match(inner, route); });
  if (text && !text->empty()) take_match(reader, "match", *text, route);
  if (auto host = reader.optional_text({"host", "Only requests for this host name"}))
    route.host = std::move(host);
  if (route.host) lower(*route.host);
  for (NameValue& header : route.rules.when.headers) lower(header.name);
  check_host(reader, route);
  route.id = reader.text({"name", "Its name in migrations, logs and metrics (default: the match)"});
  if (route.id.empty() && !route.path.empty()) route.id = match_id(route);
  route.to = reader.text({"to", "Service that answers, or \"source\""});
  route.before_switch = reader.text({"default", "Who answers until a migration moves the route"});
  YamlFields fields(reader);
  describe(fields, route.rules);
  check_action(reader, route);
  check_rules(reader, route);
  return route;
}

Health read_health(Reader& reader) {
  Health health;
  YamlFields fields(reader);
  describe(fields, health);
  return health;
}

Traffic read_traffic(Reader& reader) {
  Traffic traffic;
  YamlFields fields(reader);
  describe(fields, traffic);
  return traffic;
}

Limits read_limits(Reader& reader) {
  Limits limits;
  YamlFields fields(reader);
  describe(fields, limits);
  return limits;
}

}  // namespace banyan::spec
