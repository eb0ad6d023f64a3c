#pragma once
// Cookies, as RFC 6265 has user agents and servers read them: finding one of a request, and giving
// a Set-Cookie another Path or Domain. Pure; any bytes are acceptable input.

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "wire/http/http1_parser.h"

namespace banyan::gateway {

// The value of the first cookie of this name in a Cookie field's value; quotes are part of it.
std::optional<std::string_view> cookie_value(std::string_view cookies, std::string_view name);
std::optional<std::string_view> find_cookie(std::span<const http::Field> fields,
                                            std::string_view name);

struct CookieScope {
  std::string_view path_from;  // "/" or "/app": what the backend calls its root
  std::string_view path_to;    // what clients see in its place
  std::string_view domain_from;
  std::string_view domain_to;  // empty: the attribute goes, the cookie is for this host only
};
// Path below path_from is moved to path_to; Domain equal to domain_from becomes domain_to.
std::string rescoped_cookie(std::string_view set_cookie, const CookieScope& scope);

}  // namespace banyan::gateway
