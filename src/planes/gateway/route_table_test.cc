#include "planes/gateway/route_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace banyan::gateway {
namespace {

RouteSpec route(std::string id, std::string path, std::vector<std::string> methods = {},
                std::optional<std::string> host = {}) {
  return {.id = std::move(id),
          .methods = std::move(methods),
          .host = std::move(host),
          .path = std::move(path),
          .to = "b",
          .rules = {}};
}

std::string match(const RouteTable& table, std::string_view method, std::string_view path,
                  std::string_view host = "any") {
  const Route* found = table.match(method, host, path);
  return found == nullptr ? "none" : found->spec.id;
}

TEST(RouteTable, MatchesTemplates) {
  const RouteTable table({route("param", "/a/:id/b"), route("static", "/static/*")});
  EXPECT_EQ(match(table, "GET", "/a/1/b"), "param");
  EXPECT_EQ(match(table, "GET", "/a//b"), "none");
  EXPECT_EQ(match(table, "GET", "/a/1/b/"), "none");
  EXPECT_EQ(match(table, "GET", "/a/1"), "none");
  EXPECT_EQ(match(table, "GET", "/static/x/y"), "static");
  EXPECT_EQ(match(table, "GET", "/static/"), "static");
  EXPECT_EQ(match(table, "GET", "/static"), "static");
  EXPECT_EQ(match(table, "GET", "/"), "none");
}

TEST(RouteTable, PrefersHostThenSpecificPathThenMethod) {
  std::vector<RouteSpec> specs = {
      route("all", "/*"),
      route("all-post", "/*", {"POST"}),
      route("param", "/users/:id"),
      route("literal", "/users/me"),
      route("literal-get", "/users/me", {"GET"}),
      route("rest", "/users/*"),
      route("host", "/*", {}, "docs.example"),
  };
  std::mt19937 chance(1);
  for (int i = 0; i < 20; ++i) {
    std::ranges::shuffle(specs, chance);
    const RouteTable table(specs);
    EXPECT_EQ(match(table, "GET", "/users/me"), "literal-get");
    EXPECT_EQ(match(table, "PUT", "/users/me"), "literal");
    EXPECT_EQ(match(table, "GET", "/users/7"), "param");
    EXPECT_EQ(match(table, "GET", "/users/7/x"), "rest");
    EXPECT_EQ(match(table, "POST", "/x"), "all-post");
    EXPECT_EQ(match(table, "GET", "/x"), "all");
    EXPECT_EQ(match(table, "GET", "/users/me", "Docs.EXAMPLE"), "host");
  }
}

TEST(RouteTable, AMoreSpecificPathOfAnotherMethodFallsThrough) {
  const RouteTable table({route("get", "/a", {"GET"}), route("all", "/*")});
  EXPECT_EQ(match(table, "POST", "/a"), "all");
}

TEST(RouteTable, APathThatEndsIsMoreSpecificThanItsRest) {
  const RouteTable table({route("rest", "/a/*"), route("end", "/a")});
  EXPECT_EQ(match(table, "GET", "/a"), "end");
  EXPECT_EQ(match(table, "GET", "/a/"), "rest");
}

// The priorities as the header states them, by looking at every route.
class Reference {
 public:
  explicit Reference(const std::vector<RouteSpec>& specs) : specs_(specs) {}

  std::string match(std::string_view method, std::string_view host, std::string_view path) const {
    const RouteSpec* best = nullptr;
    for (const RouteSpec& spec : specs_) {
      const bool fits =
          (!spec.host || *spec.host == host) &&
          (spec.methods.empty() || std::ranges::find(spec.methods, method) != spec.methods.end()) &&
          path_fits(split(spec.path), split(path));
      if (fits && (best == nullptr || rank(spec) < rank(*best))) best = &spec;
    }
    return best == nullptr ? "none" : best->id;
  }

 private:
  static std::vector<std::string> split(std::string_view path) {
    std::vector<std::string> out;
    while (!path.empty()) {
      path.remove_prefix(1);
      out.emplace_back(path.substr(0, path.find('/')));
      path.remove_prefix(out.back().size());
    }
    return out;
  }
  static bool path_fits(const std::vector<std::string>& pattern,
                        const std::vector<std::string>& path) {
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      if (pattern[i] == "*") return true;
      if (i >= path.size()) return false;
      const bool fits = pattern[i].starts_with(':') ? !path[i].empty() : pattern[i] == path[i];
      if (!fits) return false;
    }
    return pattern.size() == path.size();
  }
  // Smaller is better, compared from the left.
  static std::vector<int> rank(const RouteSpec& spec) {
    std::vector<int> out = {spec.host ? 0 : 1};
    for (const std::string& segment : split(spec.path))
      out.push_back(segment == "*" ? 3 : (segment.starts_with(':') ? 1 : 0));
    if (out.back() != 3) out.push_back(2);  // ends here
    out.push_back(spec.methods.empty() ? 1 : 0);
    return out;
  }

  const std::vector<RouteSpec>& specs_;
};

class Chance {
 public:
  explicit Chance(unsigned seed) : engine_(seed) {}
  std::size_t below(std::size_t n) { return engine_() % n; }
  std::string path(bool is_template) {
    static const std::vector<std::string> kSegments = {"a", "b", "c", "", ":x", ":y"};
    std::string out;
    const std::size_t size = 1 + below(4);
    for (std::size_t i = 0; i < size; ++i) out += "/" + kSegments[below(is_template ? 6 : 4)];
    if (is_template && below(3) == 0) out += "/*";
    return out;
  }
  std::string one_of(const std::vector<std::string>& values) {
    return values[below(values.size())];
  }

 private:
  std::mt19937 engine_;
};

TEST(RouteTable, AgreesWithTheReferenceOnRandomTables) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    Chance chance(seed);
    std::vector<RouteSpec> specs;
    for (int i = 0; i < 30; ++i) {
      RouteSpec spec = route(std::to_string(i), chance.path(true));
      if (chance.below(3) == 0) spec.methods = {chance.one_of({"GET", "POST"})};
      if (chance.below(3) == 0) spec.host = chance.one_of({"h1", "h2"});
      specs.push_back(spec);
      if (!RouteTable::check_distinct(specs)) specs.pop_back();
    }
    const RouteTable table(specs);
    const Reference reference(specs);
    for (int i = 0; i < 100; ++i) {
      const std::string method = chance.one_of({"GET", "POST", "PUT"});
      const std::string host = chance.one_of({"h1", "h2", "h3"});
      const std::string path = chance.path(false);
      EXPECT_EQ(match(table, method, path, host), reference.match(method, host, path))
          << "seed " << seed << ": " << method << " " << host << path;
    }
  }
}

TEST(RouteTable, FindsAmongFiveThousand) {
  std::vector<RouteSpec> specs;
  for (int i = 0; i < 5000; ++i) {
    specs.push_back(route(std::to_string(i), "/service" + std::to_string(i % 500) + "/:id/part" +
                                                 std::to_string(i / 500)));
  }
  EXPECT_TRUE(RouteTable::check_distinct(specs));
  const RouteTable table(specs);
  EXPECT_EQ(match(table, "GET", "/service42/x/part7"), "3542");
  EXPECT_EQ(match(table, "GET", "/service42/x/part10"), "none");
}

TEST(RouteTable, AsteriskTargetMatchesTheRoot) {
  EXPECT_EQ(match(RouteTable({route("all", "/*")}), "OPTIONS", "*"), "all");
}

RouteSpec conditional(std::string id, std::string path, spec::RouteWhen when) {
  RouteSpec out = route(std::move(id), std::move(path));
  out.rules.when = std::move(when);
  return out;
}

TEST(RouteTable, AnExactEndIsMoreSpecificThanTheRest) {
  const RouteTable table({route("rest", "/a/*"), route("exact", "/a")});
  EXPECT_EQ(match(table, "GET", "/a"), "exact");
  EXPECT_EQ(match(table, "GET", "/a/"), "rest");
}

TEST(RouteTable, WildcardHostsComeAfterExactOnesLongestFirst) {
  const RouteTable table({route("any", "/*"), route("wide", "/*", {}, "*.example.org"),
                          route("narrow", "/*", {}, "*.eu.example.org"),
                          route("exact", "/x", {}, "a.eu.example.org")});
  EXPECT_EQ(match(table, "GET", "/x", "a.eu.example.org"), "exact");
  EXPECT_EQ(match(table, "GET", "/y", "A.EU.example.org"), "narrow");
  EXPECT_EQ(match(table, "GET", "/y", "a.b.example.org"), "wide");
  EXPECT_EQ(match(table, "GET", "/y", "example.org"), "any");
}

TEST(RouteTable, MoreConditionsComeFirstAndUnmetOnesArePassedOver) {
  const RouteTable table({route("plain", "/*"),
                          conditional("beta", "/*", {{{"x-beta", "1"}}, {}, {}}),
                          conditional("beta-v2", "/*", {{{"x-beta", "1"}}, {{"v", "2"}}, {}}),
                          conditional("inside", "/*", {{}, {{"v", "3"}}, {"10.0.0.0/8"}}),
                          conditional("without", "/old", {{{"x-new", "!"}}, {}, {}})});
  http::Field beta{"X-Beta", "1", http::FieldId::kOther, false};
  RequestFacts facts{.method = "GET", .host = "h", .path = "/a"};
  EXPECT_EQ(table.match(facts)->spec.id, "plain");
  facts.fields = {&beta, 1};
  EXPECT_EQ(table.match(facts)->spec.id, "beta");
  facts.query = "a=1&v=%32";
  EXPECT_EQ(table.match(facts)->spec.id, "beta-v2");
  facts = {.method = "GET", .host = "h", .path = "/a", .query = "v=3", .client_ip = "10.9.9.9"};
  EXPECT_EQ(table.match(facts)->spec.id, "inside");
  facts.client_ip = "11.9.9.9";
  EXPECT_EQ(table.match(facts)->spec.id, "plain");
  facts.path = "/old";
  EXPECT_EQ(table.match(facts)->spec.id, "without");
}

TEST(RouteTable, AgreesWithItsOwnExplanation) {
  std::mt19937 chance(7);
  const auto pick = [&](std::vector<std::string> from) { return from[chance() % from.size()]; };
  const std::vector<std::string> segments = {"/a", "/b", "/:x", "/*"};
  for (int round = 0; round < 300; ++round) {
    std::vector<RouteSpec> specs;
    for (int i = 0; i < 8; ++i) {
      std::string path;
      while (path.size() < 7 && !path.ends_with('*')) path += pick(segments);
      auto spec =
          route(std::to_string(i), path,
                chance() % 3 == 0 ? std::vector<std::string>{"PUT"} : std::vector<std::string>{});
      if (chance() % 2 == 0) spec.host = pick({"h", "*.h", "a.h"});
      if (chance() % 4 == 0) spec.rules.when.query = {{"q", "*"}};
      specs.push_back(spec);
    }
    const RouteTable table(specs);
    const std::string path = pick({"/a", "/b"}) + pick({"", "/a", "/c"}) + pick({"", "/b"});
    const std::string host = pick({"h", "a.h", "b.h", "x"});
    const std::string query = pick({"", "q"});
    const RequestFacts facts{.method = "PUT", .host = host, .path = path, .query = query};
    const Route* found = table.match(facts);
    const auto verdicts = table.explain(facts);
    const bool taken = !verdicts.empty() && verdicts.back().why_not.empty();
    ASSERT_EQ(found != nullptr, taken) << path;
    if (found != nullptr) EXPECT_EQ(found->spec.id, verdicts.back().route) << host << path;
  }
}

TEST(RouteTable, KnowsTheParametersOfAPath) {
  const auto found = path_parameters("/u/:id/:what/*", "/u/7/x/y/z");
  ASSERT_EQ(found.size(), 3U);
  EXPECT_EQ(found[0].second, "7");
  EXPECT_EQ(found[1].first, "what");
  EXPECT_EQ(found[2].second, "y/z");
}

TEST(RouteTable, FindsRoutesThatCannotBeToldApart) {
  EXPECT_TRUE(RouteTable::check_distinct(
      {route("a", "/x"), conditional("b", "/x", {{{"x-beta", "1"}}, {}, {}})}));
  EXPECT_FALSE(RouteTable::check_distinct({route("a", "/x/:id"), route("b", "/x/:name")}));
  EXPECT_FALSE(
      RouteTable::check_distinct({route("a", "/x", {"GET", "PUT"}), route("b", "/x", {"PUT"})}));
  EXPECT_TRUE(RouteTable::check_distinct({route("a", "/x", {"GET"}), route("b", "/x")}));
  EXPECT_TRUE(RouteTable::check_distinct({route("a", "/x", {}, "h"), route("b", "/x")}));
}

TEST(HostWithoutPort, KnowsIpv6) {
  EXPECT_EQ(host_without_port("Docs.Example:8080"), "Docs.Example");
  EXPECT_EQ(host_without_port("[::1]:80"), "[::1]");
  EXPECT_EQ(host_without_port("[::1]"), "[::1]");
  EXPECT_EQ(host_without_port(""), "");
}

}  // namespace
}  // namespace banyan::gateway
