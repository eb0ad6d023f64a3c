#include "planes/gateway/cookie.h"

#include "planes/gateway/rewrite.h"
#include "wire/http/text.h"

namespace banyan::gateway {
namespace {

constexpr std::string_view kHostPrefix = "__host-";

std::string_view trimmed(std::string_view text) {
  const std::size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

struct Pair {
  std::string_view name;
  std::string_view value;
};

// Takes "name=value" up to the next ';' from the front.
Pair take_pair(std::string_view& rest) {
  const std::size_t end = rest.find(';');
  const std::string_view pair = rest.substr(0, end);
  rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  const std::size_t equals = pair.find('=');
  if (equals == std::string_view::npos) return {trimmed(pair), {}};
  return {trimmed(pair.substr(0, equals)), trimmed(pair.substr(equals + 1))};
}

std::string_view without_dot(std::string_view domain) {
  return domain.starts_with('.') ? domain.substr(1) : domain;
}

// The attribute as it shall be; empty: it goes.
std::string attribute(const Pair& pair, const CookieScope& scope) {
  const std::string as_is = pair.value.empty()
                                ? std::string(pair.name)
                                : std::string(pair.name) + "=" + std::string(pair.value);
  if (http::equals_lower(pair.name, "path") && pair.value.starts_with('/')) {
    std::string path = moved_path(pair.value, scope.path_from, scope.path_to);
    // "/old/" would not cover "/old".
    if (pair.value == "/" && path.size() > 1 && path.ends_with('/')) path.pop_back();
    return "Path=" + path;
  }
  const bool is_domain = http::equals_lower(pair.name, "domain") && !scope.domain_from.empty();
  if (!is_domain || !http::equals_lower(without_dot(pair.value), scope.domain_from)) return as_is;
  return scope.domain_to.empty() ? "" : "Domain=" + std::string(scope.domain_to);
}

}  // namespace

std::optional<std::string_view> cookie_value(std::string_view cookies, std::string_view name) {
  while (!cookies.empty()) {
    const Pair pair = take_pair(cookies);
    if (pair.name == name) return pair.value;
  }
  return std::nullopt;
}

std::optional<std::string_view> find_cookie(std::span<const http::Field> fields,
                                            std::string_view name) {
  for (const http::Field& field : fields) {
    if (!http::equals_lower(field.name, "cookie")) continue;
    if (const auto value = cookie_value(field.value, name)) return value;
  }
  return std::nullopt;
}

std::string rescoped_cookie(std::string_view set_cookie, const CookieScope& scope) {
  const std::size_t end = set_cookie.find(';');
  std::string out(set_cookie.substr(0, end));
  // Browsers refuse such a cookie with another Path than "/", or a Domain (RFC 6265bis, 4.1.3.2).
  const bool is_bound = http::equals_lower(set_cookie.substr(0, kHostPrefix.size()), kHostPrefix);
  if (end == std::string_view::npos || is_bound) return std::string(set_cookie);
  std::string_view rest = set_cookie.substr(end + 1);
  while (!rest.empty()) {
    const std::string kept = attribute(take_pair(rest), scope);
    if (!kept.empty()) out += "; " + kept;
  }
  return out;
}

}  // namespace banyan::gateway
