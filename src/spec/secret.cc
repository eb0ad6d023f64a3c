// Secrets and environments: a Spec's references turned into values, at the moment they are needed.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "spec/spec.h"

namespace banyan::spec {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::string_view unquoted(std::string_view text) {
  const bool quoted = text.size() >= 2 && text.front() == text.back() &&
                      (text.front() == '"' || text.front() == '\'');
  return quoted ? text.substr(1, text.size() - 2) : text;
}

// The value of NAME in a file of NAME=value lines (comments, `export` and quotes allowed).
std::optional<std::string> entry_of(std::istream& file, std::string_view name) {
  std::string line;
  while (std::getline(file, line)) {
    std::string_view rest = trimmed(line);
    if (rest.starts_with("export ")) rest = trimmed(rest.substr(7));
    const auto equals = rest.find('=');
    if (rest.starts_with('#') || equals == std::string_view::npos) continue;
    if (trimmed(rest.substr(0, equals)) != name) continue;
    return std::string(unquoted(trimmed(rest.substr(equals + 1))));
  }
  return std::nullopt;
}

Result<std::string> from_environment(const std::string& name) {
  if (const char* value = std::getenv(name.c_str())) return std::string(value);  // NOLINT
  return std::unexpected(
      Error(Code::kNotFound, fmt::format("BY-0321 environment variable {} is not set", name))
          .with_remedy(fmt::format("export {}=... and start again", name)));
}

std::string absolute(const Spec& spec, const std::string& path) {
  return path.starts_with('/') ? path : spec.directory + "/" + path;
}

Result<std::string> from_file(const Spec& spec, const std::string& path) {
  const std::string whole = absolute(spec, path);
  std::ifstream file(whole, std::ios::binary);
  if (!file) {
    return std::unexpected(
        Error(Code::kNotFound, fmt::format("BY-0321 secret file {} cannot be read", whole))
            .with_remedy("create it, readable by this user only"));
  }
  std::ostringstream text;
  text << file.rdbuf();
  std::string value = text.str();
  if (value.ends_with('\n')) value.pop_back();
  if (value.ends_with('\r')) value.pop_back();
  return value;
}

Result<std::string> from_secrets(const Spec& spec, const std::string& name) {
  if (const char* value = std::getenv(name.c_str())) return std::string(value);  // NOLINT
  if (spec.secrets_file) {
    std::ifstream file(*spec.secrets_file);
    if (auto value = entry_of(file, name)) return *std::move(value);
  }
  const std::string places =
      spec.secrets_file ? "in the environment and in " + *spec.secrets_file : "in the environment";
  return std::unexpected(
      Error(Code::kNotFound, fmt::format("BY-0321 secret {} was not found {}", name, places))
          .with_remedy(fmt::format("export {0}=..., or name a file with a line {0}=... in the "
                                   "spec: secrets: {{ file: .env }}",
                                   name)));
}

using Variables = std::map<std::string, std::string>;

Result<void> bind_bucket(const Spec& spec, const Bucket& bucket, Variables& variables) {
  variables["AWS_STORAGE_BUCKET_NAME"] = bucket.bucket;
  variables["AWS_S3_ENDPOINT_URL"] = bucket.endpoint;
  variables["AWS_ENDPOINT_URL_S3"] = bucket.endpoint;
  variables["AWS_S3_REGION_NAME"] = bucket.region;
  variables["AWS_DEFAULT_REGION"] = bucket.region;
  if (!bucket.access_key || !bucket.secret_key) return {};
  TRY(variables["AWS_ACCESS_KEY_ID"], resolve(spec, *bucket.access_key));
  TRY(variables["AWS_SECRET_ACCESS_KEY"], resolve(spec, *bucket.secret_key));
  return {};
}

Result<void> apply_bind(const Spec& spec, const Bind& bind, Variables& variables) {
  switch (bind.kind) {
    case Bind::Kind::kDatabase: {
      TRY(variables[bind.variable], resolve(spec, spec.databases.at(bind.name).url));
      return {};
    }
    case Bind::Kind::kRedis: {
      TRY(variables[bind.variable], resolve(spec, spec.redis.at(bind.name).url));
      return {};
    }
    case Bind::Kind::kBucket:
      return bind_bucket(spec, spec.buckets.at(bind.name), variables);
  }
  return {};
}

constexpr std::array<std::string_view, 4> kKinds = {"plain", "env", "file", "secret"};

}  // namespace

SecretPlace place_of(const Spec& spec, const SecretRef& ref) {
  const bool is_file = ref.kind == SecretRef::Kind::kFile;
  SecretPlace place{.kind = std::string(kKinds.at(static_cast<std::size_t>(ref.kind))),
                    .text = is_file ? absolute(spec, ref.text) : ref.text,
                    .secrets_file = {}};
  if (ref.kind == SecretRef::Kind::kSecret) place.secrets_file = spec.secrets_file;
  return place;
}

Result<std::string> resolve(const SecretPlace& place) {
  const auto kind = std::ranges::find(kKinds, place.kind) - kKinds.begin();
  Spec spec;
  spec.secrets_file = place.secrets_file;
  return resolve(spec, {static_cast<SecretRef::Kind>(kind), place.text, {}});
}

Result<std::string> resolve(const Spec& spec, const SecretRef& ref) {
  switch (ref.kind) {
    case SecretRef::Kind::kPlain:
      return ref.text;
    case SecretRef::Kind::kEnv:
      return from_environment(ref.text);
    case SecretRef::Kind::kFile:
      return from_file(spec, ref.text);
    case SecretRef::Kind::kSecret:
      return from_secrets(spec, ref.text);
  }
  return failure(Code::kInternal, "unknown kind of secret");
}

Result<std::map<std::string, std::string>> environment(const Spec& spec, const Service& service) {
  Variables variables;
  for (const auto& [name, ref] : service.env) {
    TRY(variables[name], with_context(resolve(spec, ref), "services." + service.name + ".env"));
  }
  for (const Bind& bind : service.bind) {
    TRY_VOID(with_context(apply_bind(spec, bind, variables),
                          "services." + service.name + ".bind." + bind.variable));
  }
  return variables;
}

}  // namespace banyan::spec
