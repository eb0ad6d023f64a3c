// Reads banyan.yaml into a Spec: the declaration of every setting, its type, default and range.

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "spec/load_database.h"
#include "spec/load_route.h"
#include "spec/reader.h"
#include "spec/references.h"
#include "spec/spec.h"
#include "spec/value.h"
#include "spec/yaml_fields.h"

namespace banyan::spec {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr Range kWaitMs{1, 3'600'000};
constexpr Range kCount{1, 1'000'000};

// Paths are taken against the folder of the file.
class Folder {
 public:
  explicit Folder(fs::path path) : path_(std::move(path)) {}
  std::string absolute(const std::string& path) const {
    if (path.empty()) return path;
    auto whole = (path_ / path).lexically_normal().string();
    if (whole.size() > 1 && whole.ends_with('/')) whole.pop_back();
    return whole;
  }

 private:
  fs::path path_;
};

// What the functions below need besides the reader.
struct Loader {
  Folder folder;

  Traffic traffic(Reader& reader) const;
  SourceApp source_app(Reader& reader) const;
  Source source(Reader& reader) const;
  Gateway gateway(Reader& reader) const;
  void listener(Reader& reader, Gateway& gateway) const;
  ListenerTls listener_tls(Reader& reader) const;
  Service service(const std::string& name, Reader& reader) const;
  Bucket bucket(const std::string& name, Reader& reader) const;
  Migration migration(const std::string& name, Reader& reader) const;
  Spec spec(Reader& reader) const;
  std::optional<std::string> path(Reader& reader, const Setting& setting) const;
};

void check_address(Reader& reader, std::string_view key, const std::string& address) {
  if (address.empty() || parse_address(address)) return;
  reader.problem("BY-0313", key, fmt::format("\"{}\" is not an address", address),
                 "write address:port, such as 127.0.0.1:8080");
}

// The database's slots and triggers hold it, in names of at most 63 bytes.
void check_migration_name(Reader& reader, const std::string& name) {
  constexpr std::size_t kMost = 40;
  const bool is_plain = std::ranges::all_of(
      name, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
  if (is_plain && !name.empty() && name.size() <= kMost) return;
  reader.problem("BY-0313", "", "this cannot be the name of a migration",
                 fmt::format("take up to {} lower case letters, digits and dashes", kMost));
}

std::optional<std::string> Loader::path(Reader& reader, const Setting& setting) const {
  auto path = reader.optional_text(setting);
  if (path) path = folder.absolute(*path);
  return path;
}

void check_health(Reader& reader, const Health& health, const Traffic& traffic) {
  if (health.kind == "grpc" && !traffic.speaks_http2())
    reader.problem("BY-0333", "health", "gRPC is over HTTP/2, and the service speaks HTTP/1.1",
                   "set traffic.protocol to grpc, or another kind of check");
}

Traffic Loader::traffic(Reader& reader) const {
  Traffic traffic = read_traffic(reader);
  if (traffic.tls)
    for (std::string* file : {&traffic.tls->ca, &traffic.tls->certificate, &traffic.tls->key})
      *file = folder.absolute(*file);
  return traffic;
}

SourceApp Loader::source_app(Reader& reader) const {
  SourceApp app;
  app.listen =
      reader.text({"listen", "Address where the application answers today", Need::kRequired});
  check_address(reader, "listen", app.listen);
  app.recipe =
      reader.choice({"recipe", "What is known about its framework"}, {"generic", "django"});
  app.root = path(reader, {"root", "Folder of its code, for assess"}).value_or("");
  reader.mapping({"health", "How to see that it is alive"},
                 [&](Reader& inner) { app.health = read_health(inner); });
  reader.mapping({"traffic", "How requests are sent to it"},
                 [&](Reader& inner) { app.traffic = traffic(inner); });
  if (app.health) check_health(reader, *app.health, app.traffic);
  return app;
}

SecretRef url(Reader& reader, std::string_view help) {
  auto ref = reader.secret({"url", help, Need::kRequired}, Plain::kWithoutPassword);
  return ref.value_or(SecretRef{});
}

Database database(const std::string& name, Reader& reader) {
  return {.name = name,
          .url = url(reader, "postgresql:// URL, or a reference to one"),
          .at = reader.at()};
}

Source Loader::source(Reader& reader) const {
  Source source;
  reader.mapping({"app", "The application as it runs today (none: only data moves)"},
                 [&](Reader& inner) { source.app = source_app(inner); });
  reader.mapping({"database", "Its PostgreSQL"},
                 [&](Reader& inner) { source.database = database("source", inner); });
  reader.list({"files", "Folders with files that users uploaded"}, [&](Reader& inner) {
    FileSet files;
    files.name = inner.text({"name", "A name for the folder", Need::kRequired});
    files.path = path(inner, {"path", "The folder", Need::kRequired}).value_or("");
    files.at = inner.at();
    source.files.push_back(std::move(files));
  });
  reader.mapping({"sessions", "Where logged-in users are remembered"}, [&](Reader& inner) {
    const auto kind =
        inner.choice({"kind", "Kind of session store", Need::kRequired}, {"django-db"});
    auto key = inner.secret({"secret_key",
                             "The application's own key (Django's SECRET_KEY); needed "
                             "where the new side keeps sessions in Redis only"},
                            Plain::kNever);
    source.sessions = Sessions{.kind = kind, .secret_key = std::move(key), .at = inner.at()};
  });
  return source;
}

HoldLimits hold_limits(Reader& reader) {
  HoldLimits hold;
  hold.max_requests =
      reader.integer({"max_requests", "Requests that may wait; more are answered 503"}, kCount,
                     static_cast<int>(hold.max_requests));
  hold.max_bytes = reader.size({"max_bytes", "Bytes of their bodies kept in memory"},
                               {1, std::int64_t{1} << 40}, hold.max_bytes);
  hold.max_body_bytes = reader.size(
      {"max_body_bytes", "Of these, of one request; the rest of its body waits outside"},
      {1, std::int64_t{1} << 40}, hold.max_body_bytes);
  hold.max_per_client =
      reader.integer({"max_per_client",
                      "Requests of one client address (IPv6: /64) that may wait; more are answered "
                      "503; 0: no bound. "
                      "Not where clients come through a proxy or share an address"},
                     {0, 1'000'000}, static_cast<int>(hold.max_per_client));
  hold.max_wait =
      reader.duration({"max_ms", "Longest time a request waits"}, {100, 600'000}, hold.max_wait);
  hold.resume_percent = reader.integer(
      {"resume_percent", "Rate of the release, of the rate of requests before the hold"},
      {101, 10'000}, hold.resume_percent);
  return hold;
}

ListenerTls Loader::listener_tls(Reader& reader) const {
  ListenerTls tls;
  reader.list(
      {"certificates", "Certificates, chosen by server name; the first is the default"},
      [&](Reader& inner) {
        Certificate files;
        files.certificate =
            path(inner,
                 {"certificate", "PEM file, the chain behind the certificate", Need::kRequired})
                .value_or("");
        files.key = path(inner, {"key", "PEM file of its key", Need::kRequired}).value_or("");
        files.ocsp = path(inner, {"ocsp", "OCSP answer to staple, a DER file"});
        tls.certificates.push_back(std::move(files));
      });
  tls.client_certificates =
      reader.choice({"client_certificates", "Whether clients show a certificate"},
                    {"off", "optional", "required"});
  tls.client_ca = path(reader, {"client_ca", "PEM file of who signs clients' certificates"});
  tls.http2 =
      reader.choice({"http2", "Whether HTTP/2 is offered"}, {"offered", "off"}) == "offered";
  if (tls.certificates.empty())
    reader.problem("BY-0313", "certificates", "TLS needs a certificate",
                   "name certificate and key files; banyan cert dev-ca makes some to try");
  if (tls.client_certificates != "off" && !tls.client_ca)
    reader.problem("BY-0313", "client_ca", "nobody says who signs clients' certificates",
                   "name the PEM file of their authority");
  return tls;
}

void Loader::listener(Reader& reader, Gateway& gateway) const {
  const std::string address = reader.text({"listen", "Address users connect to", Need::kRequired});
  check_address(reader, "listen", address);
  Listener listener;
  reader.mapping({"tls", "TLS on this address"},
                 [&](Reader& inner) { listener.tls = listener_tls(inner); });
  listener.redirect_https_port = reader.integer(
      {"redirect_https_port", "Send every request to https on this port; 0: no"}, {0, 65535}, 0);
  listener.hsts_s = reader.integer(
      {"hsts_s", "Seconds for which browsers are told to use https only; 0: not told"},
      {0, 2'000'000'000}, 0);
  if (listener.tls && listener.redirect_https_port != 0)
    reader.problem("BY-0313", "redirect_https_port", "this address has TLS already",
                   "redirect from an address without TLS");
  if (!listener.tls && listener.hsts_s != 0)
    reader.problem("BY-0313", "hsts_s", "browsers ignore it without TLS", "set it where tls is");
  gateway.listen.push_back(address);
  gateway.listeners[address] = std::move(listener);
}

Gateway Loader::gateway(Reader& reader) const {
  Gateway gateway;
  gateway.instances = reader.integer(
      {"instances", "Processes that serve these addresses together and hold together"}, {1, 8}, 1);
  gateway.listen = reader.texts({"listen", "Address or addresses users connect to"});
  for (const auto& address : gateway.listen) check_address(reader, "listen", address);
  reader.list({"listeners", "More addresses, with TLS or with a redirect to it"},
              [&](Reader& inner) { listener(inner, gateway); });
  gateway.public_host = reader.optional_text({"public_host", "Host name users see"});
  reader.mapping({"hold", "Bounds of holding requests during a switch"},
                 [&](Reader& inner) { gateway.hold = hold_limits(inner); });
  gateway.access_log = path(reader, {"access_log", "File with one line a request"});
  gateway.zone = reader.optional_text({"zone", "Zone it runs in: endpoints there are preferred"});
  reader.mapping({"limits", "What clients may ask for"},
                 [&](Reader& inner) { gateway.limits = read_limits(inner); });
  gateway.limits_at = reader.at("limits");
  YamlFields(reader).group({"tracing", "Export of traces to an OpenTelemetry collector"},
                           gateway.tracing);
  if (gateway.tracing) gateway.tracing->ca = folder.absolute(gateway.tracing->ca);
  YamlFields(reader).group(
      {"rehome", "WebSockets, event streams and gRPC streams whose route leads elsewhere by now"},
      gateway.rehome);
  gateway.access_log_fields = reader.texts(
      {"access_log_fields",
       "What its lines say; empty: all but the query: client, method, host, path, query, status, "
       "route, upstream, bytes_in, bytes_out, us, held_us, first_byte_us, retries, reason, desync, "
       "desync_shape, id, trace"});
  gateway.desync = reader.choice({"desync", "Requests that two servers may read differently"},
                                 {"defensive", "monitor", "strictest"});
  return gateway;
}

InstanceCount instance_count(Reader& reader) {
  InstanceCount count;
  count.min = reader.integer({"min", "Copies that always run"}, {1, 1000}, 1);
  count.max = reader.integer({"max", "Copies that may run (default: min)"}, {1, 1000}, count.min);
  count.min_per_zone = reader.integer({"min_per_zone", "Copies in every zone"}, {0, 1000}, 0);
  return count;
}

// "database.main" → {kDatabase, "main"}; the plural section names mean the same.
std::optional<Bind> parse_bind(const Entry& entry) {
  const std::string_view target = entry.value.text;
  const auto dot = target.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const auto section = target.substr(0, dot);
  Bind bind{.variable = entry.key, .name = std::string(target.substr(dot + 1)), .at = entry.at};
  if (section == "database" || section == "databases") {
    bind.kind = Bind::Kind::kDatabase;
  } else if (section == "redis") {
    bind.kind = Bind::Kind::kRedis;
  } else if (section == "bucket" || section == "buckets") {
    bind.kind = Bind::Kind::kBucket;
  } else {
    return std::nullopt;
  }
  return bind;
}

std::vector<Bind> binds(Reader& reader) {
  std::vector<Bind> binds;
  const auto pairs = reader.pairs({"bind", "Variable: database.NAME, redis.NAME or bucket.NAME"});
  for (const Entry& entry : pairs) {
    if (auto bind = parse_bind(entry)) {
      binds.push_back(*std::move(bind));
    } else {
      reader.problem("BY-0313", "bind",
                     fmt::format("{}: \"{}\" is not a resource", entry.key, entry.value.text),
                     "write database.NAME, redis.NAME or bucket.NAME");
    }
  }
  return binds;
}

ServiceEndpoint service_endpoint(Reader& reader) {
  ServiceEndpoint endpoint;
  endpoint.address = reader.text({"address", "Where it answers", Need::kRequired});
  check_address(reader, "address", endpoint.address);
  endpoint.zone = reader.text({"zone", "Zone it is in"});
  endpoint.weight = reader.integer({"weight", "Its share among the others"}, {1, 1000}, 1);
  endpoint.backup = reader.flag({"backup", "Used only when no other is healthy"});
  return endpoint;
}

// Banyan runs a service, or sends requests to where it runs already.
void read_where(Reader& reader, Service& service) {
  service.command =
      reader.text({"command", "Shell command that starts one copy; it listens on ${HOST}:${PORT}"});
  reader.list({"endpoints", "Copies that run already, instead of a command"},
              [&](Reader& inner) { service.endpoints.push_back(service_endpoint(inner)); });
  if (service.command.empty() != service.endpoints.empty()) return;
  reader.problem("BY-0310", "", "neither command nor endpoints, or both",
                 "write the command that starts it, or the addresses where it runs already");
}

Service Loader::service(const std::string& name, Reader& reader) const {
  Service service;
  service.name = name;
  service.at = reader.at();
  read_where(reader, service);
  service.cwd = path(reader, {"cwd", "Folder it starts in"}).value_or(folder.absolute("."));
  service.env = reader.variables({"env", "Environment variables"});
  service.bind = binds(reader);
  service.checked = reader.mapping({"health", "How to see that a copy is ready"},
                                   [&](Reader& inner) { service.health = read_health(inner); });
  reader.mapping({"instances", "How many copies run"},
                 [&](Reader& inner) { service.instances = instance_count(inner); });
  service.stop_grace = reader.duration({"stop_grace", "Time between SIGTERM and SIGKILL"}, kWaitMs,
                                       service.stop_grace);
  reader.mapping({"traffic", "How requests are sent to its copies"},
                 [&](Reader& inner) { service.traffic = traffic(inner); });
  check_health(reader, service.health, service.traffic);
  return service;
}

Redis redis(const std::string& name, Reader& reader) {
  return {
      .name = name, .url = url(reader, "redis:// URL, or a reference to one"), .at = reader.at()};
}

Bucket Loader::bucket(const std::string& name, Reader& reader) const {
  Bucket bucket;
  bucket.name = name;
  bucket.at = reader.at();
  bucket.bucket = reader.text({"bucket", "Its name at the endpoint (default: the key)"}, name);
  bucket.root = path(reader, {"root", "Folder from which Banyan itself serves the endpoint"});
  bucket.endpoint =
      reader.text({"endpoint", "URL of the S3 service (with root: http://127.0.0.1:9000)"});
  if (bucket.endpoint.empty() && bucket.root) bucket.endpoint = "http://127.0.0.1:9000";
  bucket.region = reader.text({"region", "Region of the S3 service"}, bucket.region);
  bucket.access_key = reader.secret({"access_key", "S3 access key"}, Plain::kWithoutPassword);
  bucket.secret_key = reader.secret({"secret_key", "S3 secret key"}, Plain::kNever);
  if (bucket.endpoint.empty()) {
    reader.problem("BY-0310", "", "neither endpoint nor root",
                   "name the S3 service's URL, or a folder from which Banyan serves the bucket");
  } else if (!bucket.endpoint.starts_with("http://") && !bucket.endpoint.starts_with("https://")) {
    reader.problem("BY-0313", "endpoint", "not an http:// or https:// URL",
                   "write, for example, http://127.0.0.1:9000");
  }
  return bucket;
}

Zone zone(const std::string& name, Reader& reader) {
  Zone zone{.name = name, .address_base = {}};
  zone.address_base = reader.text(
      {"address_base", "First three parts of its addresses: \"127.0.1.\"", Need::kRequired});
  const bool ends_well = zone.address_base.empty() || zone.address_base.ends_with('.');
  if (!ends_well || !parse_address(zone.address_base + "1:1")) {
    reader.problem("BY-0313", "address_base", "not the first three parts of an IPv4 address",
                   "write, for example, \"127.0.1.\"");
  }
  return zone;
}

// "databases.main", "database.main" and "main" all name main.
std::string without_section(std::string name) {
  if (name == "source.database") return "source";
  const auto dot = name.find('.');
  return dot == std::string::npos ? name : name.substr(dot + 1);
}

ServiceRole service_role(Reader& reader) {
  return {.name = reader.text({"name", "Its name in the new database", Need::kRequired}),
          .password = reader.secret({"password", "Its password (default: none)"}, Plain::kNever)};
}

void read_move(Reader& reader, Migration& migration) {
  DatabaseMove database;
  const auto database_given =
      reader.all_or({"database", "Tables to move"}, Reader::Form::kMapping, [&](Reader& inner) {
        database.from =
            without_section(inner.text({"from", "Database they are in"}, "source.database"));
        database.to = without_section(inner.text({"to", "Database they go to"}));
        database.tables = inner.all_or_texts({"tables", "Which (default: all)"})
                              .value_or(std::vector<std::string>());
        for (const auto& entry :
             inner.pairs({"decisions", "Of a split: what crosses (see plan-split) to its way"})) {
          database.decisions[entry.key] = entry.value.text;
        }
        inner.mapping({"service_role", "Of a split: a role with rights on its own tables only"},
                      [&](Reader& role) { database.service_role = service_role(role); });
        database.share = inner.text(
            {"share",
             "Of a split: one slot for all splits that say the same here (default: its own)"});
        database.writers = inner.texts(
            {"writers", "Who may write besides application and instances (name, role, address)"});
        database.jobs = inner.integer(
            {"jobs", "Workers of the copy, and of the index of a large table"}, {1, 64}, 2);
        database.appliers = inner.integer(
            {"appliers", "Sessions that apply a backlog at once (0: one a core, at most 4)"},
            {0, 64}, 0);
        database.copy = inner.choice(
            {"copy", "Snapshots of the copy: one, one for each table, one for each chunk"},
            {"auto", "table", "chunk"});
        database.ddl = inner.choice({"ddl", "When the schema of the old side changes meanwhile"},
                                    {"stop", "freeze", "apply_safe"});
        database.max_mb_per_s =
            inner.integer({"max_mb_per_s", "Limit of the copy (0: none)"}, {0, 100000}, 0);
        database.spool_mb = inner.integer(
            {"spool_mb", "Received changes that may wait on this disk"}, {64, 10'000'000}, 16384);
        database.kept_wal_mb = inner.integer(
            {"kept_wal_mb", "Log the source keeps before the spool vouches (0: as it allows)"},
            {0, 10'000'000}, 0);
        read_copy_options(inner, database);
        read_mapping(inner, database);
      });
  if (database_given.given) migration.database = std::move(database);

  const auto files_given =
      reader.all_or({"files", "Folders to move"}, Reader::Form::kList, [&](Reader& inner) {
        FilesMove files;
        files.files = inner.text({"name", "One of source.files", Need::kRequired});
        files.bucket = without_section(inner.text({"to", "Bucket they go to"}));
        files.prefix = inner.text({"prefix", "Put before every object's key"});
        migration.files.push_back(std::move(files));
      });
  if (files_given.all) migration.files.emplace_back();

  SessionsMove sessions;
  const auto sessions_given = reader.all_or(
      {"sessions", "Logged-in users to move"}, Reader::Form::kMapping, [&](Reader& inner) {
        sessions.redis = without_section(inner.text({"to", "Redis they go to"}));
        sessions.mode = inner.choice({"mode", "Does the new side keep them in Redis only (cache)?"},
                                     {"cached_db", "cache"});
        sessions.key_prefix = inner.text({"key_prefix", "Cache key prefix of the application"});
      });
  if (sessions_given.given) migration.sessions = std::move(sessions);

  auto routes = reader.all_or_texts({"routes", "Routes to move, as in their match"});
  if (routes && routes->empty()) routes->emplace_back(kAllRoutes);
  if (routes) migration.routes = *std::move(routes);
}

Adoption adoption(Reader& reader) {
  Adoption adopt;
  adopt.requests =
      reader.integer({"requests", "Answers that must compare equal"}, {1, 10'000}, adopt.requests);
  adopt.paths = reader.texts(
      {"paths", "Paths to ask for (default: the health path and what the access log shows)"});
  for (const auto& path : adopt.paths) {
    if (path.starts_with('/')) continue;
    reader.problem("BY-0313", "paths", "a path starts with /", "write, for example, /healthz");
  }
  return adopt;
}

Migration Loader::migration(const std::string& name, Reader& reader) const {
  Migration migration;
  migration.name = name;
  migration.at = reader.at();
  reader.mapping({"move", "What moves together in one switch", Need::kRequired},
                 [&](Reader& inner) { read_move(inner, migration); });
  reader.mapping({"adopt", "How the gateway in front is proven to change nothing"},
                 [&](Reader& inner) { migration.adopt = adoption(inner); });
  return migration;
}

void check_version(Reader& reader) {
  const int version =
      reader.integer({"banyan", "Version of this format: 1", Need::kRequired}, {1, 1}, 1);
  (void)version;  // there is only one
}

void read_resources(const Loader& loader, Reader& reader, Spec& spec) {
  reader.each({"services", "What runs on the new side"},
              [&](const std::string& name, Reader& inner) {
                spec.services[name] = loader.service(name, inner);
              });
  reader.each({"databases", "PostgreSQL databases of the new side"},
              [&](const std::string& name, Reader& inner) {
                spec.databases[name] = database(name, inner);
              });
  reader.each(
      {"redis", "Redis databases: of the new side, of the gateways' limits"},
      [&](const std::string& name, Reader& inner) { spec.redis[name] = redis(name, inner); });
  reader.each({"buckets", "Buckets of S3 services"}, [&](const std::string& name, Reader& inner) {
    spec.buckets[name] = loader.bucket(name, inner);
  });
}

Spec Loader::spec(Reader& reader) const {
  Spec spec;
  check_version(reader);
  spec.name = reader.text({"name", "Name of the whole system", Need::kRequired});
  reader.mapping({"secrets", "Where {secret: NAME} is looked up besides the environment"},
                 [&](Reader& inner) {
                   spec.secrets_file = path(inner, {"file", "File of NAME=value lines"});
                 });
  reader.mapping({"source", "What runs today"},
                 [&](Reader& inner) { spec.source = source(inner); });
  reader.mapping({"gateway", "Where users' requests arrive"},
                 [&](Reader& inner) { spec.gateway = gateway(inner); });
  reader.each({"zones", "Failure zones that copies are spread over (default: a, b, c)"},
              [&](const std::string& zone_name, Reader& inner) {
                spec.zones.push_back(zone(zone_name, inner));
              });
  read_resources(*this, reader, spec);
  reader.list({"routes", "Who answers which requests; the most specific match counts"},
              [&](Reader& inner) { spec.routes.push_back(read_route(inner)); });
  reader.each({"migrations", "Live moves from the old side to the new"},
              [&](const std::string& name, Reader& inner) {
                check_migration_name(inner, name);
                spec.migrations[name] = migration(name, inner);
              });
  reader.finish();
  return spec;
}

void fill_defaults(Spec& spec) {
  if (spec.gateway.listen.empty()) spec.gateway.listen = {"127.0.0.1:8080"};
  if (spec.zones.empty()) {
    spec.zones = {{"a", "127.0.1."}, {"b", "127.0.2."}, {"c", "127.0.3."}};
  }
  for (Route& route : spec.routes) {
    if (route.before_switch.empty() && (!route.to.empty() || !route.rules.weights.empty()))
      route.before_switch = spec.has_app() ? "source" : route.to;
  }
}

}  // namespace

SpecOutcome parse_spec(std::string_view text, const std::string& path) {
  Problems problems(path);
  SpecOutcome outcome;
  const fs::path file = fs::path(path).is_absolute() ? fs::path(path) : fs::current_path() / path;
  if (const auto root = parse_document(text, problems)) {
    Reader reader(*root, "", problems);
    outcome.spec = Loader{Folder(file.parent_path())}.spec(reader);
    fill_defaults(outcome.spec);
    settle_references(outcome.spec, problems);
  }
  outcome.spec.file = file.lexically_normal().string();
  outcome.spec.directory = file.parent_path().lexically_normal().string();
  outcome.problems = problems.list();
  std::ranges::sort(outcome.problems, {}, &Problem::at);
  return outcome;
}

SpecOutcome load_spec(const std::string& path) {
  std::error_code error;
  std::ifstream file(path, std::ios::binary);
  if (!file || fs::is_directory(path, error)) {
    SpecOutcome outcome;
    outcome.problems.push_back({"BY-0301",
                                path,
                                {},
                                "cannot read the spec",
                                "go to the project's folder, or name the file with -f FILE"});
    return outcome;
  }
  std::ostringstream text;
  text << file.rdbuf();
  return parse_spec(text.str(), path);
}

std::string format(const Problem& problem) {
  const auto where = problem.at.line == 0 ? problem.file
                                          : fmt::format("{}:{}:{}", problem.file, problem.at.line,
                                                        problem.at.column);
  return fmt::format("error {}  {}\n   {}   {}\n", problem.code, problem.what, where,
                     problem.do_this);
}

Result<Spec> require_spec(const std::string& path) {
  auto outcome = load_spec(path);
  if (outcome.ok()) return std::move(outcome.spec);
  std::string message = fmt::format("{} has {} problem{}\n", path, outcome.problems.size(),
                                    outcome.problems.size() == 1 ? "" : "s");
  for (const auto& problem : outcome.problems) message += format(problem);
  message.pop_back();
  return std::unexpected(Error(Code::kInvalidArgument, std::move(message))
                             .with_remedy("correct the file, then run `banyan validate`"));
}

std::string json_schema() {
  Reader::Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                         {"title", "banyan.yaml"},
                         {"description", "What Banyan runs and moves"}};
  Node empty;
  empty.kind = Node::Kind::kMapping;
  Problems ignored("");
  Reader reader(empty, "", ignored, &schema);
  (void)Loader{Folder("/")}.spec(reader);  // only its description is wanted
  return schema.dump(2) + "\n";
}

}  // namespace banyan::spec
