#include "control/django.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace banyan::control {
namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// "eaglebox.settings" from os.environ.setdefault("DJANGO_SETTINGS_MODULE", "eaglebox.settings").
std::string settings_module(const std::vector<CodeFile>& files) {
  for (const CodeFile& file : files) {
    if (!file.path.ends_with("manage.py") && !file.path.ends_with("wsgi.py")) continue;
    for (const CodeLine& line : code_lines(file.text)) {
      const auto found = literals(line.text);
      const auto name = std::ranges::find(found, "DJANGO_SETTINGS_MODULE");
      if (name != found.end() && name + 1 != found.end()) return std::string(*(name + 1));
    }
  }
  return {};
}

bool is_name(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
  });
}

int bracket_balance(std::string_view text) {
  int balance = 0;
  for (const char c : text) {
    if (c == '(' || c == '[' || c == '{') ++balance;
    if (c == ')' || c == ']' || c == '}') --balance;
  }
  return balance;
}

// {"SECRET_KEY", "os.environ[...]"} of an assignment to a name in capitals.
std::optional<std::pair<std::string_view, std::string_view>> assignment(std::string_view line) {
  const auto first = line.find_first_not_of(' ');
  const auto equals = line.find('=');
  if (first == std::string_view::npos || equals == std::string_view::npos) return std::nullopt;
  if (line.substr(equals).starts_with("==") || equals <= first) return std::nullopt;
  auto name = line.substr(first, equals - first);
  while (name.ends_with(' ') || name.ends_with('+')) name.remove_suffix(1);
  if (!is_name(name)) return std::nullopt;
  return std::pair(name, line.substr(equals + 1));
}

// Is the variable given to the service by its spec?
bool provides(const spec::Service& service, const std::string& variable) {
  static constexpr std::array<std::string_view, 4> kOwn = {"HOST", "PORT", "ZONE", "INSTANCE"};
  if (std::ranges::find(kOwn, variable) != kOwn.end()) return true;
  if (service.env.contains(variable)) return true;
  if (contains(service.command, variable + "=")) return true;
  return std::ranges::any_of(service.bind, [&](const spec::Bind& bind) {
    return bind.variable == variable || (bind.variable == "AWS_*" && variable.starts_with("AWS_"));
  });
}

bool binds(const spec::Spec& spec, spec::Bind::Kind kind) {
  return std::ranges::any_of(spec.services, [&](const auto& named) {
    return std::ranges::any_of(named.second.bind,
                               [&](const spec::Bind& bind) { return bind.kind == kind; });
  });
}

class Assessor {
 public:
  Assessor(const DjangoApp& app, const spec::Spec& spec, Items& items)
      : app_(app), spec_(spec), items_(items) {}

  void run() {
    required_variables();
    databases();
    secret_key();
    allowed_hosts();
    uploads();
    sessions();
    caches();
    debug();
    proxy_headers();
  }

 private:
  using Settings = std::vector<const DjangoSetting*>;

  void add(std::string id, Severity severity, std::string title, std::string where, std::string why,
           std::string remedy) {
    items_.add({"django." + std::move(id), severity, std::move(title), std::move(where),
                std::move(why), std::move(remedy)});
  }

  // Where a setting stands, or should stand.
  std::string place(std::string_view name) const {
    const auto found = app_.all(name);
    if (!found.empty()) return found.front()->place.text();
    return app_.settings_files.empty() ? app_.settings_module : app_.settings_files.front().path;
  }

  bool mentions(std::string_view name, std::string_view text) const {
    return std::ranges::any_of(app_.all(name), [&](auto* s) { return contains(s->value, text); });
  }

  bool any_from_environment(std::string_view name) const {
    return std::ranges::any_of(app_.all(name), [](auto* s) { return s->from_environment(); });
  }

  void required_variables() {
    std::set<std::string> seen;
    for (const CodeFile& file : app_.settings_files) {
      for (const EnvironmentUse& use : environment_uses(file)) {
        if (!use.required || !seen.insert(use.variable).second) continue;
        for (const auto& [name, service] : spec_.services) required_variable(service, use);
      }
    }
  }

  void required_variable(const spec::Service& service, const EnvironmentUse& use) {
    if (provides(service, use.variable)) return;
    add("variable." + use.variable, Severity::kMust,
        fmt::format("{} is not given to the service {}", use.variable, service.name),
        use.place.text(), "the settings read it without a default: the copy would not start",
        fmt::format("add it under services.{}.env or services.{}.bind", service.name,
                    service.name));
  }

  void databases() {
    if (mentions("DATABASES", "sqlite3") && !any_from_environment("DATABASES")) {
      add("databases", Severity::kMust, "the database is SQLite", place("DATABASES"),
          "a file cannot be shared by copies on several machines",
          "move to PostgreSQL first; Banyan replicates PostgreSQL");
    } else if (!app_.all("DATABASES").empty() && !any_from_environment("DATABASES")) {
      add("databases", Severity::kMust, "the database's address is fixed in the code",
          place("DATABASES"), "the new copies use another database",
          "read it from the environment, for example DATABASE_URL, and bind DATABASE_URL: "
          "database.NAME");
    }
  }

  void secret_key() {
    if (mentions("SECRET_KEY", "random") || mentions("SECRET_KEY", "urandom")) {
      add("secret_key", Severity::kMust, "SECRET_KEY is made anew at each start",
          place("SECRET_KEY"), "copies would not accept each other's sessions and form tokens",
          "read it from the environment; give every copy, old and new, the same value");
    } else if (!app_.all("SECRET_KEY").empty() && !any_from_environment("SECRET_KEY")) {
      add("secret_key", Severity::kOptional, "SECRET_KEY stands in the code", place("SECRET_KEY"),
          "equal on all copies, but whoever reads the code can forge sessions",
          "read it from the environment");
    }
  }

  void allowed_hosts() {
    const auto hosts = app_.all("ALLOWED_HOSTS");
    if (hosts.empty() || mentions("ALLOWED_HOSTS", "'*'") || mentions("ALLOWED_HOSTS", "\"*\"")) {
      return;
    }
    const auto& host = spec_.gateway.public_host;
    const bool names_it = host && mentions("ALLOWED_HOSTS", *host);
    if (names_it || (any_from_environment("ALLOWED_HOSTS") && every_service_sets_hosts())) return;
    add("allowed_hosts", Severity::kConfig, "ALLOWED_HOSTS decides which Host header is answered",
        place("ALLOWED_HOSTS"),
        "requests and health checks carry the public host name; Django answers 400 to others",
        host ? fmt::format("make it contain {} on the new copies", *host)
             : "set gateway.public_host, and make ALLOWED_HOSTS contain it on the new copies");
  }

  // The variable that ALLOWED_HOSTS is read from is in every service's environment.
  bool every_service_sets_hosts() const {
    for (const DjangoSetting* setting : app_.all("ALLOWED_HOSTS")) {
      for (const auto& use : environment_uses({setting->place.file, setting->value})) {
        const auto given = [&](const auto& s) { return provides(s.second, use.variable); };
        if (std::ranges::all_of(spec_.services, given)) return true;
      }
    }
    return false;
  }

  void uploads() {
    const bool local = !app_.all("MEDIA_ROOT").empty();
    const bool bucket = contains_storage("s3") || contains_storage("S3") ||
                        !app_.all("AWS_STORAGE_BUCKET_NAME").empty();
    if (!local) return;
    if (!spec_.source || spec_.source->files.empty()) {
      add("media_root", Severity::kMust, "uploaded files are on the local disk",
          place("MEDIA_ROOT"), "files that users uploaded would stay behind",
          "declare the folder under source.files");
    }
    if (!bucket) {
      add("storage", Severity::kMust, "the code can only keep uploads on the local disk",
          place("MEDIA_ROOT"), "a copy on another machine does not see the file",
          "set DEFAULT_FILE_STORAGE to a storage that keeps files in a bucket (django-storages: "
          "storages.backends.s3boto3.S3Boto3Storage) when AWS_STORAGE_BUCKET_NAME is set");
    } else if (!binds(spec_, spec::Bind::Kind::kBucket)) {
      add("storage", Severity::kMust, "no service is bound to a bucket",
          place("DEFAULT_FILE_STORAGE"), "the new copies would keep uploads on their local disk",
          "add \"AWS_*\": bucket.NAME under services.NAME.bind");
    }
  }

  bool contains_storage(std::string_view text) const {
    return mentions("DEFAULT_FILE_STORAGE", text) || mentions("STORAGES", text);
  }

  void sessions() {
    if (mentions("SESSION_ENGINE", "signed_cookies") && app_.all("SESSION_ENGINE").size() == 1) {
      return;
    }
    if (mentions("SESSION_ENGINE", "sessions.backends.file")) {
      add("sessions", Severity::kMust, "sessions are files of the local disk",
          place("SESSION_ENGINE"), "users would be logged out when another copy answers",
          "use django.contrib.sessions.backends.db or cached_db");
      return;
    }
    if (spec_.source && spec_.source->sessions) return;
    add("sessions", Severity::kMust, "sessions are rows of the database, and not part of the move",
        place("SESSION_ENGINE"), "users would be logged out, or follow only with the database",
        "declare source.sessions: { kind: django-db } and move.sessions: all");
  }

  void caches() {
    const bool shared = mentions("CACHES", "redis") || mentions("CACHES", "Redis") ||
                        mentions("CACHES", "memcached") || mentions("CACHES", "db.Database");
    const bool cached = mentions("SESSION_ENGINE", "backends.cache");
    if (cached && !shared) {
      add("caches", Severity::kMust, "sessions go through a cache in process memory",
          place("SESSION_ENGINE"), "each process would know other sessions",
          "configure CACHES with django_redis from CACHE_URL");
    } else if (!shared) {
      add("caches", Severity::kOptional, "the cache is the memory of each process", place("CACHES"),
          "copies would cache different things",
          "configure CACHES with django_redis from CACHE_URL");
    }
  }

  void debug() {
    for (const DjangoSetting* setting : app_.all("DEBUG")) {
      if (!setting->value.starts_with(" True")) continue;
      add("debug", Severity::kConfig, "DEBUG is on", setting->place.text(),
          "error pages show settings, and every query is kept in memory",
          "read it from the environment, off by default");
    }
  }

  void proxy_headers() {
    if (!app_.all("SECURE_PROXY_SSL_HEADER").empty()) return;
    add("proxy_ssl_header", Severity::kOptional, "SECURE_PROXY_SSL_HEADER is not set",
        place("SECURE_PROXY_SSL_HEADER"),
        "behind a gateway that ends TLS the application takes requests for plain http",
        "set it to (\"HTTP_X_FORWARDED_PROTO\", \"https\")");
  }

  const DjangoApp& app_;
  const spec::Spec& spec_;
  Items& items_;
};

}  // namespace

bool DjangoSetting::from_environment() const {
  static constexpr std::array<std::string_view, 5> kSources = {"environ", "getenv", "env(",
                                                               "config(", "dj_database_url"};
  return std::ranges::any_of(kSources, [&](auto source) { return contains(value, source); });
}

std::vector<const DjangoSetting*> DjangoApp::all(std::string_view name) const {
  std::vector<const DjangoSetting*> found;
  for (const DjangoSetting& setting : settings) {
    if (setting.name == name) found.push_back(&setting);
  }
  return found;
}

std::vector<DjangoSetting> django_settings(const CodeFile& file) {
  std::vector<DjangoSetting> settings;
  int open_brackets = 0;
  for (const CodeLine& line : code_lines(file.text)) {
    if (open_brackets > 0) {
      settings.back().value.append("\n").append(line.text);
      open_brackets += bracket_balance(line.text);
      continue;
    }
    const auto found = assignment(line.text);
    if (!found) continue;
    const auto& [name, value] = *found;
    settings.push_back({std::string(name), std::string(value), {file.path, line.number}});
    open_brackets = bracket_balance(value);
  }
  return settings;
}

std::optional<DjangoApp> find_django(const std::vector<CodeFile>& files) {
  DjangoApp app;
  app.settings_module = settings_module(files);
  if (app.settings_module.empty()) return std::nullopt;
  std::string path = app.settings_module;
  std::ranges::replace(path, '.', '/');
  const auto last = path.rfind('/');
  const std::string package = path.ends_with("/settings") || last == std::string::npos
                                  ? path + "/"
                                  : path.substr(0, last + 1);
  for (const CodeFile& file : files) {
    const bool module = file.path == path + ".py";
    const bool in_package = contains(package, "settings/") && file.path.starts_with(package);
    if (module || in_package) app.settings_files.push_back(file);
  }
  for (const CodeFile& file : app.settings_files) {
    auto settings = django_settings(file);
    std::ranges::move(settings, std::back_inserter(app.settings));
  }
  return app;
}

void assess_django(const DjangoApp& app, const spec::Spec& spec, Items& items) {
  Assessor(app, spec, items).run();
}

}  // namespace banyan::control
