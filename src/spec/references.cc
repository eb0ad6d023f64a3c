#include "spec/references.h"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <set>
#include <utility>

#include "spec/value.h"

namespace banyan::spec {
namespace {

template <class Map>
std::vector<std::string> names_of(const Map& map) {
  std::vector<std::string> names;
  for (const auto& [name, value] : map) names.push_back(name);
  return names;
}

class Settler {
 public:
  Settler(Spec& spec, Problems& problems) : spec_(spec), problems_(problems) {}

  void settle() {
    check_unique_names();
    for (auto& [name, service] : spec_.services) check_service(service);
    for (auto& [name, bucket] : spec_.buckets) check_bucket(bucket);
    check_routes();
    check_shared_limits();
    for (auto& [name, migration] : spec_.migrations) settle_migration(migration);
  }

 private:
  // Where something is named from: "routes[0].to" in the file.
  struct Use {
    std::string what;
    Position at;
  };

  void unknown(const Use& use, std::string_view name, const std::vector<std::string>& known,
               std::string_view kind) {
    const auto meant = nearest(name, known);
    std::string do_this = fmt::format("declare the {} \"{}\"", kind, name);
    if (!known.empty()) do_this = fmt::format("known: {}", fmt::join(known, ", "));
    if (!meant.empty()) do_this = fmt::format("did you mean \"{}\"?", meant);
    problems_.add("BY-0330", use.at, fmt::format("{}: no {} is named \"{}\"", use.what, kind, name),
                  std::move(do_this));
  }

  template <class Map>
  void require(const Map& map, const std::string& name, std::string_view kind, const Use& use) {
    if (!map.contains(name)) unknown(use, name, names_of(map), kind);
  }

  // The only entry when the spec leaves the choice open; a problem when there is none or several.
  template <class Map>
  std::string only(const Map& map, std::string_view preferred, std::string_view kind,
                   const Use& use) {
    if (map.contains(std::string(preferred))) return std::string(preferred);
    if (map.size() == 1) return map.begin()->first;
    problems_.add(
        "BY-0332", use.at,
        fmt::format("{}: {} {} to choose from", use.what, map.empty() ? "no" : "several", kind),
        map.empty() ? fmt::format("declare a {}", kind)
                    : fmt::format("say which: {}", fmt::join(names_of(map), ", ")));
    return {};
  }

  void duplicate(Position at, std::string what) {
    problems_.add("BY-0331", at, std::move(what), "keep one, or give it another name");
  }

  void check_unique_names() {
    if (!spec_.source) return;
    std::set<std::string> files;
    for (const FileSet& set : spec_.source->files) {
      if (!files.insert(set.name).second) {
        duplicate(set.at, "source.files: two are named " + set.name);
      }
    }
  }

  void check_service(const Service& service) {
    const std::string path = "services." + service.name;
    if (service.name == "source") {
      duplicate(service.at, "services.source: \"source\" means what runs today");
    }
    check_instances(service, path);
    for (const Bind& bind : service.bind) check_bind(bind, path);
  }

  void check_instances(const Service& service, const std::string& path) {
    const auto& count = service.instances;
    if (count.max < count.min) {
      problems_.add("BY-0333", service.at,
                    fmt::format("{}.instances: max {} is below min {}", path, count.max, count.min),
                    "raise max or lower min");
    }
    const auto in_zones = count.min_per_zone * static_cast<int>(spec_.zones.size());
    if (in_zones > count.max) {
      problems_.add("BY-0333", service.at,
                    fmt::format("{}.instances: {} in each of {} zones are more than max {}", path,
                                count.min_per_zone, spec_.zones.size(), count.max),
                    fmt::format("raise max to at least {}", in_zones));
    }
  }

  void check_bind(const Bind& bind, const std::string& path) {
    const Use use{fmt::format("{}.bind.{}", path, bind.variable), bind.at};
    switch (bind.kind) {
      case Bind::Kind::kDatabase:
        return require(spec_.databases, bind.name, "database", use);
      case Bind::Kind::kRedis:
        return require(spec_.redis, bind.name, "redis", use);
      case Bind::Kind::kBucket:
        break;
    }
    require(spec_.buckets, bind.name, "bucket", use);
    if (bind.variable != "AWS_*") {
      problems_.add("BY-0313", bind.at, use.what + ": a bucket needs several variables",
                    "bind it as \"AWS_*\"");
    }
  }

  void check_bucket(const Bucket& bucket) {
    if (bucket.access_key.has_value() != bucket.secret_key.has_value()) {
      problems_.add("BY-0333", bucket.at,
                    fmt::format("buckets.{}: only one of access_key and secret_key", bucket.name),
                    "give both");
    } else if (!bucket.access_key && !bucket.root) {
      problems_.add("BY-0310", bucket.at,
                    fmt::format("buckets.{}: no access_key and secret_key", bucket.name),
                    "add both, or \"root\" to let Banyan serve the bucket");
    }
  }

  void check_target(const std::string& name, const Use& use) {
    if (name == "source" && spec_.has_app()) return;
    auto known = names_of(spec_.services);
    if (spec_.has_app()) known.emplace_back("source");
    const bool found = std::ranges::find(known, name) != known.end();
    if (!name.empty() && !found) unknown(use, name, known, "service");
  }

  void check_routes() {
    std::set<std::string> ids;
    for (std::size_t i = 0; i < spec_.routes.size(); ++i) {
      const Route& route = spec_.routes[i];
      check_target(route.to, {fmt::format("routes[{}].to", i), route.at});
      for (const Weight& weight : route.rules.weights)
        check_target(weight.to, {fmt::format("routes[{}].weights", i), route.at});
      if (route.rules.fallback && route.rules.fallback->to)
        check_target(*route.rules.fallback->to, {fmt::format("routes[{}].fallback", i), route.at});
      if (route.before_switch != route.to) {
        check_target(route.before_switch, {fmt::format("routes[{}].default", i), route.at});
      }
      if (!route.id.empty() && !ids.insert(route.id).second) {
        duplicate(route.at, fmt::format("routes[{}].match: \"{}\" stands twice", i, route.id));
      }
    }
  }

  void check_shared_limits() {
    const Gateway& gateway = spec_.gateway;
    if (gateway.limits.shared)
      require(spec_.redis, gateway.limits.shared->redis, "redis",
              {"gateway.limits.shared.redis", gateway.limits_at});
  }

  void settle_migration(Migration& migration) {
    const Use use{fmt::format("migrations.{}.move", migration.name), migration.at};
    if (migration.database) settle_database(*migration.database, use);
    if (!migration.files.empty()) settle_files(migration, use);
    if (migration.sessions) settle_sessions(*migration.sessions, use);
    settle_routes(migration, use);
  }

  void need_source(bool there, const Use& use, std::string_view what) {
    if (there) return;
    problems_.add("BY-0330", use.at, fmt::format("{}: nothing to move from", use.what),
                  fmt::format("declare source.{}", what));
  }

  void settle_database(DatabaseMove& move, const Use& in) {
    const Use use{in.what + ".database", in.at};
    if (move.from == "source") {
      need_source(spec_.source && spec_.source->database, use, "database");
    } else {
      require(spec_.databases, move.from, "database", use);
    }
    const bool is_of_a_split = !move.decisions.empty() || move.service_role || !move.share.empty();
    if (move.tables.empty() && is_of_a_split) {
      problems_.add("BY-0333", use.at,
                    fmt::format("{}: decisions, service_role and share are of a split", use.what),
                    "list the tables that move under tables, or leave these out");
    }
    if (move.to.empty()) {
      move.to = only(spec_.databases, "main", "database", use);
    } else {
      require(spec_.databases, move.to, "database", use);
    }
  }

  void settle_files(Migration& migration, const Use& in) {
    const Use use{in.what + ".files", in.at};
    need_source(spec_.source && !spec_.source->files.empty(), use, "files");
    if (!spec_.source) return;
    const bool all = migration.files.front().files.empty();
    if (all) migration.files.clear();
    for (const FileSet& set : spec_.source->files) {
      if (all) migration.files.push_back({set.name, {}, {}});
    }
    for (FilesMove& move : migration.files) settle_file_set(move, use);
  }

  void settle_file_set(FilesMove& move, const Use& use) {
    std::vector<std::string> known;
    for (const FileSet& set : spec_.source->files) known.push_back(set.name);
    if (std::ranges::find(known, move.files) == known.end()) {
      unknown(use, move.files, known, "source.files entry");
    }
    if (move.bucket.empty()) {
      move.bucket = only(spec_.buckets, move.files, "bucket", use);
    } else {
      require(spec_.buckets, move.bucket, "bucket", use);
    }
  }

  void settle_sessions(SessionsMove& move, const Use& in) {
    const Use use{in.what + ".sessions", in.at};
    const bool there = spec_.source && spec_.source->sessions;
    need_source(there, use, "sessions");
    if (there) move.kind = spec_.source->sessions->kind;
    if (there && !spec_.source->database) need_source(false, use, "database");
    // Without the key they could be carried there, but never back.
    if (there && move.mode == "cache" && !spec_.source->sessions->secret_key)
      problems_.add("BY-0310", use.at,
                    use.what + ": mode cache needs source.sessions.secret_key for the way back",
                    "write, for example, secret_key: { secret: SECRET_KEY }");
    if (move.redis.empty()) {
      move.redis = only(spec_.redis, "sessions", "redis", use);
    } else {
      require(spec_.redis, move.redis, "redis", use);
    }
  }

  void settle_routes(Migration& migration, const Use& in) {
    std::vector<std::string> known;
    for (const Route& route : spec_.routes) known.push_back(route.id);
    if (std::ranges::find(migration.routes, kAllRoutes) != migration.routes.end()) {
      migration.routes.clear();
      for (const Route& route : spec_.routes) {
        if (route.to != route.before_switch) migration.routes.push_back(route.id);
      }
      return;
    }
    for (std::string& name : migration.routes) {
      if (const auto match = parse_match(name)) name = match->id();
      if (std::ranges::find(known, name) == known.end()) {
        unknown({in.what + ".routes", in.at}, name, known, "route");
      }
    }
  }

  Spec& spec_;
  Problems& problems_;
};

}  // namespace

void settle_references(Spec& spec, Problems& problems) {
  Settler(spec, problems).settle();
}

}  // namespace banyan::spec
