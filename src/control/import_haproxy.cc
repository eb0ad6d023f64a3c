#include "control/import_haproxy.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "spec/cidr.h"
#include "spec/value.h"

namespace banyan::control {
namespace {

using Words = std::vector<std::string>;

constexpr std::size_t kAlternativesMax = 64;

// One way of meeting a condition.
struct Condition {
  std::string path = "/*";
  std::vector<std::string> methods;
  std::optional<std::string> host;
  spec::RouteWhen when;
};
using Alternatives = std::vector<Condition>;  // one of them holds

std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c | 0x20);
  return text;
}

// "hdr(host)" -> {"hdr", "host"}
std::pair<std::string, std::string> split_fetch(const std::string& fetch) {
  const std::size_t open = fetch.find('(');
  if (open == std::string::npos || !fetch.ends_with(')')) return {fetch, {}};
  return {fetch.substr(0, open), lower(fetch.substr(open + 1, fetch.size() - open - 2))};
}

std::string host_only(const std::string& host) {
  const auto colon = host.rfind(':');
  return lower(colon == std::string::npos ? host : host.substr(0, colon));
}

// One value of a criterion; nothing when Banyan has no such condition.
std::optional<Condition> one_condition(const std::string& fetch, const std::string& value) {
  Condition out;
  auto [kind, name] = split_fetch(fetch);
  if (kind.starts_with("req.")) kind = kind.substr(4);
  const bool is_host = name == "host" && kind.starts_with("hdr");
  const bool is_path = value.starts_with('/') && value.find_first_of("*:?# ") == std::string::npos;
  if ((kind == "path_beg" || kind == "path_dir") && is_path) {
    out.path = value.ends_with('/') ? value + "*" : value + "/*";
  } else if ((kind == "path" || kind == "path_str") && is_path) {
    out.path = value;
  } else if (kind == "method") {
    out.methods = {value};
  } else if (is_host && (kind == "hdr" || kind == "hdr_str")) {
    out.host = host_only(value);
  } else if (is_host && (kind == "hdr_end" || kind == "hdr_dom")) {
    out.host = "*" + std::string(value.starts_with('.') ? "" : ".") + host_only(value);
  } else if ((kind == "hdr" || kind == "hdr_str") && !name.empty()) {
    out.when.headers = {{name, value}};
  } else if ((kind == "url_param" || kind == "urlp") && !name.empty()) {
    out.when.query = {{name, value}};
  } else if (kind == "src" && spec::Cidr::parse(value)) {
    out.when.sources = {value};
  } else {
    return std::nullopt;
  }
  return out;
}

// "hdr(host) -i a.example b.example" as alternatives.
std::optional<Alternatives> criterion(const Words& words) {
  if (words.empty()) return std::nullopt;
  if (words[0].ends_with("_cnt") || words[0] == "ssl_fc") return std::nullopt;
  std::string fetch = words[0];
  Alternatives out;
  for (std::size_t i = 1; i < words.size(); ++i) {
    if (words[i] == "-i" || words[i] == "--") continue;
    if (words[i] == "-m" && i + 1 < words.size()) {
      const std::string how = words[++i];
      if (how == "beg" && fetch == "path")
        fetch = "path_beg";
      else if (how == "end" && fetch.find("(host)") != std::string::npos)
        fetch = "hdr_end(host)";
      else if (how == "found" && fetch.find('(') != std::string::npos) {
        auto found = one_condition(fetch, "*");
        return found ? std::optional(Alternatives{*found}) : std::nullopt;
      } else if (how != "str")
        return std::nullopt;
      continue;
    }
    if (words[i].starts_with('-')) return std::nullopt;
    auto one = one_condition(fetch, words[i]);
    if (!one) return std::nullopt;
    out.push_back(std::move(*one));
  }
  if (out.empty()) return std::nullopt;
  return out;
}

// Both hold; nothing when Banyan cannot say that of one route.
std::optional<Condition> both(Condition a, const Condition& b) {
  if (a.path != "/*" && b.path != "/*" && a.path != b.path) return std::nullopt;
  if (a.path == "/*") a.path = b.path;
  if (a.host && b.host && a.host != b.host) return std::nullopt;
  if (!a.host) a.host = b.host;
  if (!a.methods.empty() && !b.methods.empty() && a.methods != b.methods) return std::nullopt;
  if (a.methods.empty()) a.methods = b.methods;
  if (!a.when.sources.empty() && !b.when.sources.empty()) return std::nullopt;
  a.when.headers.insert(a.when.headers.end(), b.when.headers.begin(), b.when.headers.end());
  a.when.query.insert(a.when.query.end(), b.when.query.begin(), b.when.query.end());
  if (a.when.sources.empty()) a.when.sources = b.when.sources;
  return a;
}

std::optional<Alternatives> all_of(const Alternatives& a, const Alternatives& b) {
  Alternatives out;
  for (const Condition& x : a)
    for (const Condition& y : b) {
      if (out.size() >= kAlternativesMax) return std::nullopt;
      auto joined = both(x, y);
      if (!joined) return std::nullopt;
      out.push_back(std::move(*joined));
    }
  return out;
}

class Acls {
 public:
  void declare(const HaproxyLine& line) {
    if (line.words.size() < 3) return;
    const auto alternatives = criterion(Words(line.words.begin() + 2, line.words.end()));
    auto& known = acls_[line.words[1]];
    if (!alternatives) {
      known.reset();
      unreadable_.insert(line.words[1]);
    } else if (!unreadable_.contains(line.words[1])) {  // declared again: either holds
      if (!known) known.emplace();
      known->insert(known->end(), alternatives->begin(), alternatives->end());
    }
  }

  // "a b or { path_beg /x }": what follows `if`.
  std::optional<Alternatives> condition(const Words& words) const {
    Alternatives any;
    Alternatives all = {Condition{}};
    for (std::size_t i = 0; i < words.size(); ++i) {
      if (words[i] == "or" || words[i] == "||") {
        any.insert(any.end(), all.begin(), all.end());
        all = {Condition{}};
        continue;
      }
      const auto next = term(words, i);
      const auto joined = next ? all_of(all, *next) : std::nullopt;
      if (!joined) return std::nullopt;
      all = *joined;
    }
    any.insert(any.end(), all.begin(), all.end());
    return any;
  }

 private:
  std::optional<Alternatives> term(const Words& words, std::size_t& i) const {
    if (words[i] == "{") {
      Words inside;
      while (++i < words.size() && words[i] != "}") inside.push_back(words[i]);
      return criterion(inside);
    }
    const auto found = acls_.find(words[i]);
    return found == acls_.end() ? std::nullopt : found->second;
  }

  std::map<std::string, std::optional<Alternatives>> acls_;
  std::set<std::string> unreadable_;
};

std::optional<spec::Millis> time_of(const std::string& text) {
  if (const auto ms = spec::parse_integer(text)) return spec::Millis(*ms);
  return spec::parse_duration(text);
}

class HaproxyImport {
 public:
  explicit HaproxyImport(Imported& out) : out_(out) {}

  void run(const std::vector<HaproxySection>& sections) {
    for (const HaproxySection& section : sections)
      if (section.kind == "defaults") settings(section, defaults_);
    for (const HaproxySection& section : sections)
      if (section.kind == "backend" || section.kind == "listen") backend(section);
    for (const HaproxySection& section : sections)
      if (section.kind == "frontend" || section.kind == "listen") frontend(section);
    for (const HaproxySection& section : sections) other(section);
  }

 private:
  // What a backend adds to the routes that lead to it.
  struct Settings {
    std::optional<spec::Millis> timeout;
    std::optional<int> retries;
    spec::Headers headers;
    std::optional<spec::Rewrite> rewrite;
    bool tcp = false;
  };

  void leave(const HaproxyLine& line, std::string do_this) {
    out_.leave(line.where, line.text(), std::move(do_this));
  }

  void other(const HaproxySection& section) {
    static const std::set<std::string> kRead = {"defaults", "backend", "listen", "frontend",
                                                "global"};
    if (kRead.contains(section.kind)) return;
    out_.leave(section.where, section.kind + " " + section.name,
               "nothing of Banyan stands for this section");
  }

  // ---- lines that several kinds of sections have

  // True when the line was understood, or needs nothing.
  bool common(const HaproxyLine& line, Settings& settings) {
    static const std::set<std::string> kNotNeeded = {
        "log",         "option",     "maxconn",        "balance",         "server",
        "bind",        "acl",        "use_backend",    "default_backend", "http-reuse",
        "stats",       "http-check", "default-server", "description",     "monitor-uri",
        "compression", "errorfile",  "hash-type",      "fullconn",        "no",
        "log-format",  "capture"};
    const Words& words = line.words;
    if (words[0] == "mode") {
      settings.tcp = words.size() > 1 && words[1] == "tcp";
    } else if (words[0] == "timeout" && words.size() == 3) {
      if (words[1] == "server") settings.timeout = time_of(words[2]);
    } else if (words[0] == "retries" && words.size() == 2) {
      settings.retries = static_cast<int>(
          std::clamp<std::int64_t>(spec::parse_integer(words[1]).value_or(2), 0, 10));
    } else if (words[0] == "http-request" || words[0] == "http-response") {
      return rule(line, settings);
    } else {
      return kNotNeeded.contains(words[0]);
    }
    return true;
  }

  void settings(const HaproxySection& section, Settings& settings) {
    for (const HaproxyLine& line : section.lines)
      if (!common(line, settings)) leave(line, "see docs/spec.md");
  }

  // Header rules without a condition.
  bool rule(const HaproxyLine& line, Settings& settings) {
    const Words& words = line.words;
    if (words.size() < 3 || std::ranges::find(words, "if") != words.end() ||
        std::ranges::find(words, "unless") != words.end())
      return false;
    spec::HeaderEdits& edits =
        words[0] == "http-request" ? settings.headers.request : settings.headers.response;
    const bool has_value = words.size() >= 4 && words[3].find("%[") == std::string::npos;
    const std::string name = lower(words[2]);
    if (name.starts_with("x-forwarded-")) return true;  // the gateway sets them itself
    if (words[1] == "del-header")
      edits.remove.push_back(words[2]);
    else if (words[1] == "set-header" && name == "host" && has_value)
      settings.rewrite = spec::Rewrite{std::nullopt, words[3]};
    else if (words[1] == "set-header" && has_value)
      edits.set.push_back({words[2], words[3]});
    else if (words[1] == "add-header" && has_value)
      edits.add.push_back({words[2], words[3]});
    else
      return false;
    return true;
  }

  // ---- backends

  void backend(const HaproxySection& section) {
    spec::Service service;
    service.name = service_name(section.name);
    Settings& own = settings_[section.name] = defaults_;
    for (const HaproxyLine& line : section.lines) {
      const bool of_frontend =
          section.kind == "listen" && (line.words[0] == "http-request" || line.words[0] == "acl");
      if (line.words[0] == "server")
        server(line, service);
      else if (line.words[0] == "balance" && line.words.size() > 1)
        balance(line, service);
      else if (line.words[0] == "option" && line.words.size() > 2 && line.words[1] == "httpchk")
        check(line, service);
      else if (!of_frontend && !common(line, own))
        leave(line, line.words[0] == "cookie"
                        ? "sticky sessions: balance: hash by the application's cookie"
                        : "see docs/spec.md");
    }
    if (own.tcp)
      return out_.leave(section.where, section.kind + " " + section.name,
                        "mode tcp: keep HAProxy for this");
    if (!service.endpoints.empty()) out_.add_service(std::move(service), section.where);
  }

  void server(const HaproxyLine& line, spec::Service& service) {
    const Words& words = line.words;
    const auto address = words.size() < 3 ? std::nullopt : address_with_port(words[2], 80);
    if (!address) return leave(line, "write an address as host:port");
    spec::ServiceEndpoint endpoint{*address, "", 1, false};
    for (std::size_t i = 3; i < words.size(); ++i) {
      static const std::set<std::string> kWithValue = {"inter",  "rise",      "fall",     "maxconn",
                                                       "cookie", "fastinter", "slowstart"};
      if (words[i] == "weight" && i + 1 < words.size())
        endpoint.weight = static_cast<int>(
            std::clamp<std::int64_t>(spec::parse_integer(words[++i]).value_or(1), 1, 1000));
      else if (words[i] == "backup")
        endpoint.backup = true;
      else if (words[i] == "ssl")
        return leave(line, "TLS towards the service is not carried; declare it in banyan.yaml");
      else if (words[i] == "disabled")
        return leave(line, "the server is disabled; add it when it is up");
      else if (kWithValue.contains(words[i]))
        ++i;
    }
    service.endpoints.push_back(std::move(endpoint));
  }

  void balance(const HaproxyLine& line, spec::Service& service) {
    const std::string& how = line.words[1];
    const auto [kind, name] = split_fetch(how);
    if (how == "source") {
      service.traffic.balance = "hash";
    } else if (kind == "hdr" && !name.empty()) {
      service.traffic.balance = "hash";
      service.traffic.hash = {"header", name, ""};
    } else if (how != "roundrobin" && how != "leastconn" && how != "static-rr" && how != "random") {
      leave(line, "hashed by address, cookie, header or claim: services.NAME.traffic.hash");
    }
  }

  // option httpchk [METHOD] URI
  static void check(const HaproxyLine& line, spec::Service& service) {
    const std::string& uri =
        line.words[2].starts_with('/') || line.words.size() < 4 ? line.words[2] : line.words[3];
    if (!uri.starts_with('/')) return;
    service.checked = true;
    service.health.path = uri;
  }

  // ---- frontends

  void frontend(const HaproxySection& section) {
    Settings own = section.kind == "listen" ? settings_[section.name] : defaults_;
    Acls acls;
    for (const HaproxyLine& line : section.lines)
      if (line.words[0] == "acl") acls.declare(line);
    std::vector<const HaproxyLine*> ways;
    for (const HaproxyLine& line : section.lines) {
      const std::string& first = line.words[0];
      if (first == "bind") bind(line);
      if (first == "use_backend" || first == "default_backend" || is_answer(line))
        ways.push_back(&line);
      else if (section.kind == "frontend" && !common(line, own))
        leave(line, "see docs/routing.md and docs/spec.md");
    }
    if (own.tcp)
      return out_.leave(section.where, "frontend " + section.name,
                        "mode tcp: keep HAProxy for this");
    for (const HaproxyLine* line : ways) way(*line, acls, own);
    if (section.kind == "listen" && out_.services.contains(service_name(section.name)))
      lead({Condition{}}, section.name, own, section.where);
    if (ways.size() > 2)
      out_.leave(section.where, "the order of use_backend",
                 "HAProxy takes the first that fits, Banyan the most "
                 "specific: check with `banyan route explain`");
  }

  static bool is_answer(const HaproxyLine& line) {
    const Words& words = line.words;
    const bool is_http = words[0] == "http-request" && words.size() > 1;
    return words[0] == "redirect" ||
           (is_http && (words[1] == "redirect" || words[1] == "deny" || words[1] == "return"));
  }

  void bind(const HaproxyLine& line) {
    if (line.words.size() < 2) return;
    if (std::ranges::find(line.words, "ssl") != line.words.end())
      return leave(line, "declare its certificate and this address under gateway in banyan.yaml");
    std::string at = line.words[1];
    if (at.starts_with("*:")) at = "0.0.0.0" + at.substr(1);
    if (at.starts_with(':')) at = "0.0.0.0" + at;
    if (!spec::parse_address(at))
      return leave(line, "write an address as host:port under gateway.listen");
    if (std::ranges::find(out_.listen, at) == out_.listen.end()) out_.listen.push_back(at);
  }

  // A line that says where requests go, perhaps with `if` or `unless`.
  void way(const HaproxyLine& line, const Acls& acls, const Settings& settings) {
    const Words& words = line.words;
    const auto condition_at =
        std::ranges::find_if(words, [](const auto& w) { return w == "if" || w == "unless"; });
    std::optional<Alternatives> when = Alternatives{Condition{}};
    if (condition_at != words.end())
      when = *condition_at == "if" ? acls.condition(Words(condition_at + 1, words.end()))
                                   : std::nullopt;
    if (!when)
      return leave(line,
                   "write its condition as match: path, host, methods, headers, query, source");
    const Words what(words.begin(), condition_at);
    if (what[0] == "use_backend" || what[0] == "default_backend") {
      if (what.size() > 1) return lead(*when, what[1], settings, line.where);
      return leave(line, "name a backend");
    }
    answer(line, what, *when);
  }

  static spec::Route route_of(const Condition& condition) {
    spec::Route route;
    route.path = condition.path;
    route.methods = condition.methods;
    route.host = condition.host;
    route.rules.when = condition.when;
    return route;
  }

  static void join(spec::HeaderEdits& into, const spec::HeaderEdits& more) {
    into.set.insert(into.set.end(), more.set.begin(), more.set.end());
    into.add.insert(into.add.end(), more.add.begin(), more.add.end());
    into.remove.insert(into.remove.end(), more.remove.begin(), more.remove.end());
  }

  void lead(const Alternatives& when, const std::string& backend, const Settings& settings,
            const std::string& where) {
    const std::string name = service_name(backend);
    if (!out_.services.contains(name))
      return out_.leave(where, "backend " + backend,
                        "no server of it was carried over; declare a service");
    const Settings& own = settings_[backend];
    for (const Condition& condition : when) {
      spec::Route route = route_of(condition);
      route.to = name;
      route.rules.timeout = own.timeout ? own.timeout : settings.timeout;
      route.rules.retry.attempts = own.retries ? own.retries : settings.retries;
      route.rules.headers = settings.headers;
      if (&own != &settings) {
        join(route.rules.headers.request, own.headers.request);
        join(route.rules.headers.response, own.headers.response);
      }
      route.rules.rewrite = own.rewrite ? own.rewrite : settings.rewrite;
      out_.add_route(std::move(route), where);
    }
  }

  // redirect scheme https | location X | prefix X [code N]; deny [deny_status N]; return status N
  // string S
  void answer(const HaproxyLine& line, const Words& what, const Alternatives& when) {
    spec::RouteRules rules;
    const auto after = [&](std::string_view word) -> std::string {
      const auto found = std::ranges::find(what, word);
      return found == what.end() || found + 1 == what.end() ? "" : *(found + 1);
    };
    const auto number = [&](std::string_view word, int preset) {
      return static_cast<int>(spec::parse_integer(after(word)).value_or(preset));
    };
    if (std::ranges::find(what, "redirect") != what.end()) {
      std::string location = after("location");
      if (!after("scheme").empty()) location = after("scheme") + "://${host}${uri}";
      if (!after("prefix").empty()) location = after("prefix") + "${uri}";
      if (location.empty() || location.find("%[") != std::string::npos)
        return leave(line, "write redirect.location with ${host}, ${uri}, ...");
      rules.redirect = spec::Redirect{number("code", 302), location};
    } else if (std::ranges::find(what, "deny") != what.end()) {
      rules.respond = spec::Respond{.status = number("deny_status", 403), .body = {}};
    } else {
      std::string body = after("string");
      if (body.empty()) body = after("lf-string");
      rules.respond = spec::Respond{.status = number("status", 200), .body = body};
    }
    for (const Condition& condition : when) {
      spec::Route route = route_of(condition);
      rules.when = condition.when;
      route.rules = rules;
      out_.add_route(std::move(route), line.where);
    }
  }

  Imported& out_;
  Settings defaults_;
  std::map<std::string, Settings> settings_;
};

}  // namespace

Result<Imported> import_haproxy(std::string_view text, const std::string& file) {
  Imported out;
  HaproxyImport(out).run(parse_haproxy(text, file));
  return out;
}

}  // namespace banyan::control
