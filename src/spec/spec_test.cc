#include "spec/spec.h"

#include <gmock/gmock.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace banyan::spec {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kLift = R"(banyan: 1
name: eaglebox
source:
  app:      { listen: 127.0.0.1:8000, recipe: django, root: code }
  database: { url: { secret: OLD_DATABASE_URL } }
  files:    [ { name: documents, path: /srv/media/ } ]
  sessions: { kind: django-db }
services:
  web:
    command: "gunicorn eaglebox.wsgi -b 0.0.0.0:${PORT}"
    health: { path: /healthz, interval: 500ms }
    instances: { min: 3, max: 12, min_per_zone: 1 }
    bind: { DATABASE_URL: database.main, CACHE_URL: redis.sessions, "AWS_*": bucket.documents }
databases: { main: { url: { secret: NEW_DATABASE_URL } } }
redis:    { sessions: { url: redis://127.0.0.1:6379/0 } }
buckets:  { documents: { endpoint: http://127.0.0.1:9000, root: objects } }
routes:   [ { match: /*, to: web, default: source } ]
migrations:
  lift: { move: { database: all, files: all, sessions: all, routes: all } }
)";

SpecOutcome parse(std::string_view text) {
  return parse_spec(text, "/etc/banyan/banyan.yaml");
}

// kLift with one line exchanged for another.
SpecOutcome parse_with(const std::string& line, const std::string& other) {
  std::string text(kLift);
  const auto at = text.find(line);
  EXPECT_NE(at, std::string::npos) << line;
  text.replace(at, line.size(), other);
  return parse(text);
}

void expect_problem(const SpecOutcome& outcome, const std::string& code, const std::string& what) {
  for (const auto& problem : outcome.problems) {
    const bool found = problem.code == code && problem.what.find(what) != std::string::npos;
    if (found) return;
  }
  ADD_FAILURE() << code << " " << what << " is not among " << outcome.problems.size()
                << " problems, first: "
                << (outcome.problems.empty() ? "none" : format(outcome.problems.front()));
}

TEST(Spec, TheMinimalFileIsComplete) {
  const auto outcome = parse(kLift);
  for (const auto& problem : outcome.problems) ADD_FAILURE() << format(problem);
  const Spec& spec = outcome.spec;
  EXPECT_EQ(spec.directory, "/etc/banyan");
  EXPECT_EQ(spec.source->app.root, "/etc/banyan/code");
  EXPECT_EQ(spec.source->files[0].path, "/srv/media");
  EXPECT_EQ(spec.source->database->url.kind, SecretRef::Kind::kSecret);
  EXPECT_EQ(spec.services.at("web").health.interval, std::chrono::milliseconds(500));
  EXPECT_EQ(spec.services.at("web").bind.size(), 3U);
  EXPECT_EQ(spec.buckets.at("documents").root, "/etc/banyan/objects");
  EXPECT_EQ(spec.zones.size(), 3U);
  EXPECT_EQ(spec.zones[1].address_base, "127.0.2.");
  EXPECT_THAT(spec.gateway.listen, ElementsAre("127.0.0.1:8080"));
}

TEST(Spec, AllMeansWhatTheFileDeclares) {
  const auto lift = parse(kLift).spec.migrations.at("lift");
  EXPECT_EQ(lift.database->from, "source");
  EXPECT_EQ(lift.database->to, "main");
  EXPECT_TRUE(lift.database->tables.empty());
  ASSERT_EQ(lift.files.size(), 1U);
  EXPECT_EQ(lift.files[0].bucket, "documents");
  EXPECT_EQ(lift.sessions->redis, "sessions");
  EXPECT_EQ(lift.sessions->kind, "django-db");
  EXPECT_THAT(lift.routes, ElementsAre("/*"));
}

TEST(Spec, ASplitSaysHowWhatCrossesIsDecided) {
  const auto outcome = parse_with("database: all",
                                  "database: { tables: [a], decisions: { \"view *\": rewrite }, "
                                  "service_role: { name: sales, password: { secret: P } }, "
                                  "share: monolith }");
  for (const auto& problem : outcome.problems) ADD_FAILURE() << format(problem);
  const auto& move = *outcome.spec.migrations.at("lift").database;
  EXPECT_EQ(move.decisions.at("view *"), "rewrite");
  EXPECT_EQ(move.service_role->name, "sales");
  EXPECT_EQ(move.share, "monolith");
  expect_problem(parse_with("database: all", "database: { decisions: { \"view *\": rewrite } }"),
                 "BY-0333", "decisions, service_role and share are of a split");
  expect_problem(parse_with("database: all", "database: { share: monolith }"), "BY-0333",
                 "share are of a split");
}

TEST(Spec, AMigrationsNameFitsIntoTheNamesOfSlots) {
  for (const auto& name : {std::string("Lift"), std::string("li_ft"), std::string(41, 'x')}) {
    expect_problem(parse_with("  lift:", "  \"" + name + "\":"), "BY-0313",
                   "migrations." + name + ": this cannot be the name of a migration");
  }
  EXPECT_TRUE(parse_with("  lift:", "  lift-2:").ok());
}

TEST(Spec, AnUnknownKeyNamesItsNeighbour) {
  const auto outcome = parse_with("    health: {", "    healht: {");
  ASSERT_EQ(outcome.problems.size(), 1U);
  EXPECT_EQ(format(outcome.problems[0]),
            "error BY-0312  services.web.healht: unknown key\n"
            "   /etc/banyan/banyan.yaml:11:5   did you mean \"health\"?\n");
}

TEST(Spec, ZonesHaveNamesAndAddresses) {
  const auto zones =
      "zones: { west: { address_base: 127.0.8. }, east: { address_base: 127.0.9. } }\n";
  const auto outcome = parse(std::string(kLift) + zones);
  EXPECT_TRUE(outcome.ok());
  ASSERT_EQ(outcome.spec.zones.size(), 2U);
  EXPECT_EQ(outcome.spec.zones[0].name, "west");
  EXPECT_EQ(outcome.spec.zones[1].address_base, "127.0.9.");
  expect_problem(parse(std::string(kLift) + "zones: { west: { address_base: x } }\n"), "BY-0313",
                 "zones.west.address_base");
}

TEST(Spec, KeysWithXAreIgnored) {
  EXPECT_TRUE(parse(std::string(kLift) + "x-note: { anything: [1] }\n").ok());
}

TEST(Spec, AllProblemsAreReportedTogether) {
  const auto outcome =
      parse("banyan: 2\nnaem: x\nservices: { web: { instances: { min: many } } }\n");
  expect_problem(outcome, "BY-0313", "banyan: 2 is out of range");
  expect_problem(outcome, "BY-0310", "name: missing");
  expect_problem(outcome, "BY-0312", "naem: unknown key");
  expect_problem(outcome, "BY-0310", "services.web: neither command nor endpoints");
  expect_problem(outcome, "BY-0311", "services.web.instances.min: expected a whole number");
  EXPECT_TRUE(std::ranges::is_sorted(outcome.problems, {}, &Problem::at));
}

TEST(Spec, LiteralSecretsAreRefused) {
  expect_problem(parse_with("{ url: { secret: NEW_DATABASE_URL } }",
                            "{ url: 'postgresql://u:p@localhost/x' }"),
                 "BY-0320", "databases.main.url");
  expect_problem(parse_with("root: objects", "access_key: a, secret_key: b"), "BY-0320",
                 "buckets.documents.secret_key");
  expect_problem(parse_with("    command:", "    env: { SECRET_KEY: abc }\n    command:"),
                 "BY-0320", "services.web.env.SECRET_KEY");
}

TEST(Spec, TheShortFormOfAMoveHasTheDefaultsOfTheLongOne) {
  const SpecOutcome all = parse_with("database: all", "database: all");
  const SpecOutcome named = parse_with("database: all", "database: { to: main }");
  const auto& short_form = *all.spec.migrations.at("lift").database;
  const auto& long_form = *named.spec.migrations.at("lift").database;
  EXPECT_EQ(short_form.copy, long_form.copy);
  EXPECT_EQ(short_form.ddl, long_form.ddl);
  EXPECT_EQ(short_form.jobs, long_form.jobs);
  EXPECT_EQ(short_form.max_mb_per_s, long_form.max_mb_per_s);
  EXPECT_EQ(short_form.spool_mb, long_form.spool_mb);
  EXPECT_EQ(short_form.kept_wal_mb, long_form.kept_wal_mb);
  EXPECT_EQ(short_form.chunk, long_form.chunk);
  EXPECT_EQ(short_form.apply, long_form.apply);
  EXPECT_EQ(short_form.throttle.source_latency, long_form.throttle.source_latency);
}

SpecOutcome parse_database(const std::string& settings) {
  return parse_with("database: all", "database: { to: main, " + settings + " }");
}

TEST(Spec, AMoveSaysWhatOfItsTablesMovesUnderWhichName) {
  const auto outcome = parse_database(
      "chunk: 8MiB, copy_of: { public.big: chunk }, throttle: { source_latency: 50ms }, apply: "
      "rows,"
      "map: [ { table: people, to: hr.staff, columns: { id: staff_id }, without: [ secret ],"
      "         where: tenant = 7 } ]");
  for (const auto& problem : outcome.problems) ADD_FAILURE() << format(problem);
  const auto& move = *outcome.spec.migrations.at("lift").database;
  EXPECT_EQ(move.chunk, 8 << 20);
  EXPECT_EQ(move.copy_of.at("public.big"), "chunk");
  EXPECT_EQ(move.throttle.source_latency, Millis(50));
  EXPECT_EQ(move.apply, "rows");
  ASSERT_EQ(move.map.size(), 1U);
  EXPECT_EQ(move.map[0].to, "hr.staff");
  EXPECT_EQ(move.map[0].columns.at("id"), "staff_id");
  EXPECT_EQ(move.map[0].without, std::vector<std::string>{"secret"});
  EXPECT_EQ(move.map[0].where, "tenant = 7");
}

TEST(Spec, AMapThatContradictsItselfIsAProblemWithItsLine) {
  expect_problem(parse_database("map: [ { to: a } ]"), "BY-0310", "map[0].table: missing");
  expect_problem(parse_database("map: [ { table: a, filter: x } ]"), "BY-0312", "filter");
  expect_problem(parse_database("map: [ { table: a, to: t }, { table: b, to: t } ]"), "BY-0313",
                 "two tables become t");
  expect_problem(parse_database("map: [ { table: a }, { table: a, to: b } ]"), "BY-0313",
                 "mapped twice");
  expect_problem(parse_database("map: [ { table: a, columns: { x: y }, without: [ x ] } ]"),
                 "BY-0313", "renamed and left out");
  expect_problem(parse_database("copy_of: { a: fast }"), "BY-0313", "no way to copy");
}

TEST(Spec, ReferencesToNothingAreProblems) {
  expect_problem(parse_with("to: web", "to: wbe"), "BY-0330",
                 "routes[0].to: no service is named \"wbe\"");
  expect_problem(parse_with("database.main", "database.mian"), "BY-0330",
                 "no database is named \"mian\"");
  expect_problem(parse_with("redis.sessions", "cache.sessions"), "BY-0313", "is not a resource");
  expect_problem(parse_with("database: all", "database: { to: other }"), "BY-0330", "\"other\"");
  expect_problem(parse_with("routes: all", "routes: [ /none ]"), "BY-0330", "\"/none\"");
  expect_problem(parse_with("  sessions: { kind: django-db }\n", ""), "BY-0330",
                 "migrations.lift.move.sessions: nothing to move from");
}

constexpr std::string_view kRouted = R"(
banyan: 1
name: routed
gateway: { zone: a, limits: { body_rate: 100, client_requests_per_s: 50, head_ms: 5s } }
services:
  old:
    endpoints: [ { address: "127.0.0.1:1", weight: 3 }, { address: "127.0.0.1:2", backup: true } ]
  new: { command: run, traffic: { balance: peak_ewma, limits: { requests: 10 } } }
routes:
  - match: { path: /app/*, methods: [GET, PUT], host: "*.Example.org", headers: { X-Beta: "1" },
             query: { v: "*" }, source: [10.0.0.0/8] }
    weights: { old: 90, new: 10 }
    sticky: { by: cookie, name: sid, salt: s1 }
    rewrite: { prefix: /, host: app.internal }
    headers: { request: { set: { x-side: new } }, response: { remove: [server] } }
    timeout: 5s
    retry: { attempts: 0, on: [connect, 502-504] }
    limits: { rate: { per_second: 5 } }
    fallback: { respond: { status: 503, body: later } }
  - { match: /old/*, name: moved, redirect: { status: 301, location: "/app/${*}" } }
  - { match: /*, to: old }
)";

TEST(Spec, RoutesSayWhatTheyMatchAndDo) {
  const auto outcome = parse(std::string(kRouted));
  for (const auto& problem : outcome.problems) ADD_FAILURE() << format(problem);
  const Route& route = outcome.spec.routes[0];
  EXPECT_EQ(route.id, "*.example.org GET,PUT /app/* x-beta:1 ?v=* @10.0.0.0/8");
  EXPECT_EQ(route.rules.weights, (std::vector<Weight>{{"old", 90}, {"new", 10}}));
  EXPECT_EQ(route.rules.sticky->salt, "s1");
  EXPECT_EQ(route.rules.timeout, Millis(5000));
  EXPECT_EQ(route.rules.retry.attempts, 0);
  EXPECT_THAT(route.rules.retry.on, ElementsAre("connect", "502-504"));
  EXPECT_EQ(outcome.spec.routes[1].id, "moved");
  EXPECT_EQ(outcome.spec.gateway.limits.body_rate, 100);
  EXPECT_EQ(outcome.spec.gateway.limits.head_ms, Millis(5000));
  EXPECT_TRUE(outcome.spec.services.at("old").is_external());
  EXPECT_EQ(outcome.spec.services.at("new").traffic.limits.requests, 10);
}

TEST(Spec, SharedLimitsNameARedisAndHaveARate) {
  const auto with = [](const std::string& limits) {
    return parse("banyan: 1\nname: s\ngateway: { limits: { " + limits +
                 " } }\nredis: { limits: { url: redis://127.0.0.1 } }\n");
  };
  const auto good = with("client_requests_per_s: 5, shared: { redis: limits }");
  EXPECT_TRUE(good.ok());
  EXPECT_EQ(good.spec.gateway.limits.shared->key_prefix, "banyan:rate:");
  expect_problem(with("client_requests_per_s: 5, shared: { redis: limit }"), "BY-0330",
                 "gateway.limits.shared.redis: no redis is named \"limit\"");
  expect_problem(with("shared: { redis: limits }"), "BY-0313", "there is no rate to share");
  expect_problem(with("client_requests_per_s: 5, shared: { redis: limits, key_prefix: \"\" }"),
                 "BY-0313", "key_prefix");
}

TEST(Spec, RoutesThatContradictThemselvesAreProblems) {
  const auto with = [](const std::string& from, const std::string& to) {
    std::string text(kRouted);
    text.replace(text.find(from), from.size(), to);
    return parse(text);
  };
  expect_problem(with("{ match: /*, to: old }", "{ match: /* }"), "BY-0310", "routes[2]: says not");
  expect_problem(with("to: old }", "to: old, respond: {} }"), "BY-0333", "more than one thing");
  expect_problem(with("old: 90", "odl: 90"), "BY-0330", "routes[0].weights: no service");
  expect_problem(with("10.0.0.0/8", "10.0.0.0/64"), "BY-0313", "is not an address range");
  expect_problem(with("/app/*,", "/app,"), "BY-0313", "routes[0].rewrite");
  expect_problem(with("status: 301", "status: 305"), "BY-0313", "not a redirect");
  expect_problem(with("x-side: new", "Content-Length: x"), "BY-0313", "the gateway's own");
  expect_problem(with("*.Example.org", "a.*.org"), "BY-0313", "is not a host name");
  expect_problem(with("name: sid,", ""), "BY-0313", "routes[0].sticky.name: missing");
}

TEST(Spec, AChoiceThatIsOpenIsAProblem) {
  expect_problem(parse_with("{ main: { url: { secret: NEW_DATABASE_URL } } }",
                            "{ a: { url: { env: A } }, b: { url: { env: B } } }"),
                 "BY-0332", "several database to choose from");
}

TEST(Spec, CountsFitTogether) {
  expect_problem(parse_with("max: 12", "max: 2"), "BY-0333", "max 2 is below min 3");
  expect_problem(parse_with("min_per_zone: 1", "min_per_zone: 5"), "BY-0333", "in each of 3 zones");
  expect_problem(parse_with(", root: objects", ""), "BY-0310", "no access_key and secret_key");
}

TEST(Spec, AnEmbeddedBucketNeedsOnlyAFolder) {
  const auto outcome =
      parse_with("endpoint: http://127.0.0.1:9000, root: objects", "root: objects");
  EXPECT_TRUE(outcome.ok());
  EXPECT_EQ(outcome.spec.buckets.at("documents").endpoint, "http://127.0.0.1:9000");
  expect_problem(parse_with("{ endpoint: http://127.0.0.1:9000, root: objects }", "{}"), "BY-0310",
                 "buckets.documents: neither endpoint nor root");
}

TEST(Spec, TwoRoutesWithOneMatchAreAProblem) {
  expect_problem(parse_with("[ { match: /*, to: web, default: source } ]",
                            "[ { match: /*, to: web }, { match: /*, to: source } ]"),
                 "BY-0331", "routes[1].match");
}

TEST(Spec, AMissingFileIsAProblemWithARemedy) {
  const auto outcome = load_spec("/nonexistent/banyan.yaml");
  ASSERT_EQ(outcome.problems.size(), 1U);
  EXPECT_EQ(outcome.problems[0].code, "BY-0301");
  EXPECT_EQ(require_spec("/nonexistent/banyan.yaml").error().code(), Code::kInvalidArgument);
}

class SecretFiles : public testing::Test {
 protected:
  SecretFiles() {
    std::string name = (std::filesystem::temp_directory_path() / "specXXXXXX").string();
    folder_ = mkdtemp(name.data());
    spec_.directory = folder_.string();
  }
  ~SecretFiles() override { std::filesystem::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }
  std::filesystem::path folder_;
  Spec spec_;
};

TEST_F(SecretFiles, AreFoundInTheEnvironmentFirst) {
  write(".env", "# comment\nexport BANYAN_TEST_A=\"from file\"\nBANYAN_TEST_B = 'b'\n");
  spec_.secrets_file = (folder_ / ".env").string();
  const SecretRef a{SecretRef::Kind::kSecret, "BANYAN_TEST_A", {}};
  const SecretRef b{SecretRef::Kind::kSecret, "BANYAN_TEST_B", {}};
  EXPECT_EQ(*resolve(spec_, a), "from file");
  EXPECT_EQ(*resolve(spec_, b), "b");
  setenv("BANYAN_TEST_A", "from environment", 1);
  EXPECT_EQ(*resolve(spec_, a), "from environment");
  unsetenv("BANYAN_TEST_A");
}

TEST_F(SecretFiles, ArePlacesThatNeedNoSpec) {
  write(".env", "BANYAN_TEST_A=from file\n");
  write("key", "k\n");
  spec_.secrets_file = (folder_ / ".env").string();
  for (const SecretRef& ref : {SecretRef{SecretRef::Kind::kSecret, "BANYAN_TEST_A", {}},
                               SecretRef{SecretRef::Kind::kFile, "key", {}},
                               SecretRef{SecretRef::Kind::kPlain, "plain", {}}})
    EXPECT_EQ(*resolve(place_of(spec_, ref)), *resolve(spec_, ref));
  EXPECT_FALSE(resolve(place_of(spec_, {SecretRef::Kind::kEnv, "BANYAN_TEST_NONE", {}})));
}

TEST_F(SecretFiles, LoseOnlyTheirLastNewline) {
  write("key", "line one\nline two\n");
  EXPECT_EQ(*resolve(spec_, {SecretRef::Kind::kFile, "key", {}}), "line one\nline two");
}

TEST_F(SecretFiles, AMissingSecretSaysWhereItWasLookedUp) {
  const auto missing = resolve(spec_, {SecretRef::Kind::kSecret, "BANYAN_TEST_NONE", {}});
  EXPECT_EQ(missing.error().code(), Code::kNotFound);
  EXPECT_THAT(missing.error().message(), HasSubstr("BANYAN_TEST_NONE"));
  EXPECT_THAT(missing.error().remedy(), HasSubstr("secrets: { file: .env }"));
  EXPECT_FALSE(resolve(spec_, {SecretRef::Kind::kEnv, "BANYAN_TEST_NONE", {}}));
  EXPECT_FALSE(resolve(spec_, {SecretRef::Kind::kFile, "none", {}}));
}

TEST(Spec, TheEnvironmentOfAServiceHoldsItsBinds) {
  setenv("NEW_DATABASE_URL", "postgresql://new", 1);
  const auto spec = parse(kLift).spec;
  const auto variables = environment(spec, spec.services.at("web"));
  unsetenv("NEW_DATABASE_URL");
  ASSERT_TRUE(variables) << variables.error().message();
  EXPECT_EQ(variables->at("DATABASE_URL"), "postgresql://new");
  EXPECT_EQ(variables->at("CACHE_URL"), "redis://127.0.0.1:6379/0");
  EXPECT_EQ(variables->at("AWS_STORAGE_BUCKET_NAME"), "documents");
  EXPECT_EQ(variables->at("AWS_S3_ENDPOINT_URL"), "http://127.0.0.1:9000");
  EXPECT_FALSE(variables->contains("AWS_SECRET_ACCESS_KEY"));
}

TEST(Spec, TheSchemaDescribesEverySection) {
  const auto schema = nlohmann::json::parse(json_schema());
  for (const char* key : {"source", "gateway", "services", "routes", "migrations", "buckets"}) {
    EXPECT_TRUE(schema["properties"].contains(key)) << key;
  }
  const auto& service = schema["properties"]["services"]["additionalProperties"];
  EXPECT_TRUE(service["properties"].contains("command"));
  const auto& route = schema["properties"]["routes"]["items"];
  EXPECT_EQ(route["required"][0], "match");
  EXPECT_EQ(service["properties"]["health"]["properties"]["rise"]["maximum"], 100);
}

TEST(Spec, ABackendsProtocolTlsAndChecksAreRead) {
  const auto outcome = parse_with("health: { path: /healthz, interval: 500ms }",
                                  "health: { expect: [200, 300-399], jitter_percent: 0 }\n"
                                  "    traffic: { protocol: h2, tls: { ca: tls/ca.pem } }");
  ASSERT_TRUE(outcome.ok()) << format(outcome.problems.front());
  const Service& web = outcome.spec.services.at("web");
  EXPECT_THAT(web.health.expect, ElementsAre("200", "300-399"));
  EXPECT_EQ(web.traffic.protocol, "h2");
  EXPECT_EQ(web.traffic.tls->ca, "/etc/banyan/tls/ca.pem");
}

TEST(Spec, ABackendCannotBeSpokenToInTwoWays) {
  const auto with = [](const std::string& more) {
    return parse_with("health: { path: /healthz, interval: 500ms }", more);
  };
  expect_problem(with("traffic: { protocol: h2c, tls: { ca: ca.pem } }"), "BY-0313", "without TLS");
  expect_problem(with("traffic: { tls: { certificate: a.pem } }"), "BY-0313", "come together");
  expect_problem(with("health: { kind: grpc }"), "BY-0333", "speaks HTTP/1.1");
  expect_problem(with("health: { expect: [99] }"), "BY-0313", "99 is no status");
}

}  // namespace
}  // namespace banyan::spec
