#pragma once
// Spec: what banyan.yaml declares, as plain structs. Values only; no YAML, no positions but `at`.
//
// load_spec() reads and checks a whole file and reports every problem at once. A Spec that came
// without errors is complete: defaults filled in, relative paths made absolute against the file's
// folder, and every reference (route to service, bind to database, move to bucket) names something
// that exists. Secrets are references until resolve(); a Spec never holds a secret's value.

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "spec/problem.h"
#include "spec/traffic.h"

namespace banyan::spec {

// A text that may be secret: written plainly, or referred to as {env: N} {file: P} {secret: N}.
struct SecretRef {
  enum class Kind : std::uint8_t {
    kPlain,   // `text` is the value itself; only where no secret can hide
    kEnv,     // environment variable `text`
    kFile,    // contents of file `text`, without the final newline
    kSecret,  // environment variable `text`, else the entry `text` of Spec::secrets_file
  };
  Kind kind = Kind::kPlain;
  std::string text;
  Position at;
};

struct SourceApp {
  std::string listen;  // "127.0.0.1:8000"
  std::string recipe;  // "django" or "generic"
  std::string root;    // folder of the application's code; empty: not known
  std::optional<Health> health;
  Traffic traffic;
};

struct FileSet {
  std::string name;
  std::string path;
  Position at;
};

struct Sessions {
  std::string kind;                     // "django-db"
  std::optional<SecretRef> secret_key;  // the application's own key, that signs its sessions
  Position at;
};

struct Database {
  std::string name;
  SecretRef url;
  Position at;
};

struct Source {
  SourceApp app;
  std::optional<Database> database;  // its name is "source"
  std::vector<FileSet> files;
  std::optional<Sessions> sessions;
};

struct HoldLimits {
  std::int64_t max_requests = 10'000;
  std::int64_t max_bytes = 256 * 1024 * 1024;
  std::int64_t max_body_bytes = 1024 * 1024;
  std::int64_t max_per_client = 0;             // 0: no bound
  std::chrono::milliseconds max_wait{10'000};  // spec key: max_ms
  int resume_percent = 115;
};

// Certificate files of a listener with TLS; absolute paths.
struct Certificate {
  std::string certificate;
  std::string key;
  std::optional<std::string> ocsp;
};

struct ListenerTls {
  std::vector<Certificate> certificates;
  std::string client_certificates;  // "off", "optional" or "required"
  std::optional<std::string> client_ca;
  bool http2 = true;
};

// How one address of Gateway::listen is treated.
struct Listener {
  std::optional<ListenerTls> tls;
  int redirect_https_port = 0;
  int hsts_s = 0;
};

struct Gateway {
  int instances = 1;                          // processes that share the addresses
  std::vector<std::string> listen;            // "address:port", at least one
  std::map<std::string, Listener> listeners;  // by address of `listen`
  std::optional<std::string> public_host;
  HoldLimits hold;
  std::optional<std::string> access_log;
  std::optional<std::string> zone;  // where it runs: endpoints there are preferred
  Limits limits;
  Position limits_at;
  std::string desync = "defensive";  // or monitor, strictest
  Rehome rehome;
  std::optional<Tracing> tracing;
  std::vector<std::string> access_log_fields;  // empty: all but the query
};

struct InstanceCount {
  int min = 1;
  int max = 1;
  int min_per_zone = 0;
};

// One environment variable (or, for "AWS_*", the whole family) taken from a declared resource.
struct Bind {
  enum class Kind : std::uint8_t { kDatabase, kRedis, kBucket };
  std::string variable;  // "DATABASE_URL" or "AWS_*"
  Kind kind = Kind::kDatabase;
  std::string name;  // key in Spec::databases, redis or buckets
  Position at;
};

// A copy of a service that Banyan does not run.
struct ServiceEndpoint {
  std::string address;
  std::string zone;
  int weight = 1;
  bool backup = false;  // used only when all others are unhealthy
};

struct Service {
  std::string name;
  std::string command;  // run by /bin/sh -c; ${HOST} and ${PORT} are the instance's own
  std::vector<ServiceEndpoint> endpoints;  // instead of a command
  std::string cwd;
  std::map<std::string, SecretRef> env;
  std::vector<Bind> bind;
  Health health;
  InstanceCount instances;
  std::chrono::milliseconds stop_grace{10'000};
  Traffic traffic;
  bool checked = false;  // `health` was given
  Position at;
  bool is_external() const { return command.empty(); }
};

struct Redis {
  std::string name;
  SecretRef url;
  Position at;
};

struct Bucket {
  std::string name;    // key in the spec
  std::string bucket;  // the bucket's name at the endpoint; default: `name`
  std::string endpoint;
  std::optional<std::string> root;  // given: Banyan itself serves the endpoint from this folder
  std::string region = "us-east-1";
  std::optional<SecretRef> access_key;  // both or neither; neither only when `root` is given
  std::optional<SecretRef> secret_key;
  Position at;
};

struct Zone {
  std::string name;
  std::string address_base;  // "127.0.1."
};

struct Route {
  std::string id;                    // its name, else the match normalised: "GET /progress/:userId"
  std::vector<std::string> methods;  // empty: every method
  std::optional<std::string> host;
  std::string path;  // "/progress/:userId" or "/*"
  std::string to;    // service, or "source"; empty: `rules` say what happens
  RouteRules rules;
  std::string before_switch;  // spec key `default`: who serves until a migration moves the route
  Position at;
};

// A role of the new database that may use a split's own tables and no others.
struct ServiceRole {
  std::string name;
  std::optional<SecretRef> password;
};

// A table that moves in part, or under other names.
struct TableMap {
  std::string table;                           // as in SQL
  std::string to;                              // empty: the same
  std::map<std::string, std::string> columns;  // new name by old name
  std::vector<std::string> without;
  std::string where;  // SQL; empty: all rows
};

// When the copy waits; 0: not looked at.
struct CopyThrottle {
  Millis source_latency{250};
  Millis replica_lag{30'000};
};

struct DatabaseMove {
  std::string from = "source";      // "source" or key in Spec::databases
  std::string to;                   // key in Spec::databases
  std::vector<std::string> tables;  // empty: all
  // Of a split, what crosses its border ("foreign_key NAME of TABLE", as plan-split names it) to
  // the way it is dealt with.
  std::map<std::string, std::string> decisions;
  std::optional<ServiceRole> service_role;
  std::string share;  // of a split: other splits of this name read the same slot; empty: its own
  // Application names, roles or addresses that may write before the switch, besides the old
  // application and the instances; empty: anybody.
  std::vector<std::string> writers;
  int jobs = 2;               // workers of the copy
  int appliers = 0;           // that apply a backlog at once; 0: one a core, at most 4
  std::string copy = "auto";  // or table, chunk: what the copy reads under (table_copy.h)
  std::string ddl = "stop";   // or freeze, apply_safe: when the schema changes meanwhile
  int max_mb_per_s = 0;       // of the copy; 0: no limit
  int spool_mb = 16384;       // received changes that may wait on this machine's disk
  int kept_wal_mb = 0;  // that the source may keep before the spool vouches; 0: as its limit allows
  std::map<std::string, std::string> copy_of;  // as copy, by table
  std::int64_t chunk = 64 << 20;               // bytes of a piece of the copy
  CopyThrottle throttle;
  std::string apply = "sets";  // or rows
  std::vector<TableMap> map;
};

struct FilesMove {
  std::string files;   // name of a source.files entry
  std::string bucket;  // key in Spec::buckets
  std::string prefix;  // put before every object's key
};

struct SessionsMove {
  std::string kind;                // of source.sessions
  std::string redis;               // key in Spec::redis
  std::string mode = "cached_db";  // or "cache": the new side keeps sessions in Redis only
  std::string key_prefix;
};

// How the gateway in front of the old application is proven to change nothing.
struct Adoption {
  int requests = 20;               // compared answers wanted
  std::vector<std::string> paths;  // empty: the health path and what the access log shows
};

struct Migration {
  std::string name;
  std::optional<DatabaseMove> database;
  std::vector<FilesMove> files;
  std::optional<SessionsMove> sessions;
  std::vector<std::string> routes;  // Route::id
  Adoption adopt;
  Position at;
};

struct Spec {
  std::string file;       // absolute path it was read from
  std::string directory;  // the file's folder
  std::string name;
  std::optional<std::string> secrets_file;
  std::optional<Source> source;
  Gateway gateway;
  std::vector<Zone> zones;
  std::map<std::string, Service> services;
  std::map<std::string, Database> databases;
  std::map<std::string, Redis> redis;
  std::map<std::string, Bucket> buckets;
  std::vector<Route> routes;
  std::map<std::string, Migration> migrations;

  // False when only data moves: nothing of HTTP is in front of what runs today.
  bool has_app() const { return source && !source->app.listen.empty(); }
};

struct SpecOutcome {
  Spec spec;                      // meaningful only when ok()
  std::vector<Problem> problems;  // in the order of the file
  bool ok() const { return problems.empty(); }
};

SpecOutcome load_spec(const std::string& path);
// The same on text; `path` gives the folder and the name in problems.
SpecOutcome parse_spec(std::string_view text, const std::string& path);

// "error BY-0312  what\n   file:line:column   do this\n"
std::string format(const Problem& problem);
// All problems as one Error, for callers that only pass it on.
Result<Spec> require_spec(const std::string& path);

// The secret's value now. Errors name the reference, never the value.
Result<std::string> resolve(const Spec& spec, const SecretRef& ref);
SecretPlace place_of(const Spec& spec, const SecretRef& ref);
Result<std::string> resolve(const SecretPlace& place);
// The whole environment of a service: `env` and `bind` resolved. For a bucket bound as "AWS_*":
// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_STORAGE_BUCKET_NAME, AWS_S3_ENDPOINT_URL,
// AWS_ENDPOINT_URL_S3, AWS_S3_REGION_NAME and AWS_DEFAULT_REGION. An embedded bucket without keys
// gets none of the two key variables: who starts it adds them.
Result<std::map<std::string, std::string>> environment(const Spec& spec, const Service& service);

// JSON Schema of banyan.yaml, for editors.
std::string json_schema();

}  // namespace banyan::spec
