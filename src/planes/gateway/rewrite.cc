#include "planes/gateway/rewrite.h"

#include <algorithm>

#include "planes/gateway/cookie.h"
#include "planes/gateway/route_table.h"
#include "wire/http/path.h"
#include "wire/http/text.h"

namespace banyan::gateway {
namespace {

struct Line {
  std::string_view name;
  std::string_view value;
};

// Takes a line, without its CRLF, from the front.
std::string_view take_line(std::string_view& head) {
  const std::size_t end = head.find("\r\n");
  const std::string_view line = head.substr(0, end);
  head.remove_prefix(end == std::string_view::npos ? head.size() : end + 2);
  return line;
}

Line split(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return {line, {}};
  std::string_view value = line.substr(colon + 1);
  while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
  while (value.ends_with(' ') || value.ends_with('\t')) value.remove_suffix(1);
  return {line.substr(0, colon), value};
}

bool equals_any_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) {
    const auto lower = [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
    };
    return lower(x) == lower(y);
  });
}

bool is_removed(const spec::HeaderEdits& edits, std::string_view name) {
  return std::ranges::any_of(edits.remove,
                             [&](const auto& n) { return equals_any_case(n, name); }) ||
         std::ranges::any_of(edits.set,
                             [&](const auto& f) { return equals_any_case(f.name, name); });
}

void put_line(std::string& out, std::string_view name, std::string_view value) {
  out.append(name).append(": ").append(value).append("\r\n");
}

// Copies the fields of `head` as `edited` gives them, without those the edits take away, then what
// they set and add, then the empty line.
template <class Edited>
void put_fields(std::string& out, std::string_view head, const spec::HeaderEdits& edits,
                Edited edited) {
  while (!head.empty()) {
    const std::string_view text = take_line(head);
    if (text.empty()) break;
    const Line line = split(text);
    if (!is_removed(edits, line.name)) put_line(out, line.name, edited(line));
  }
  for (const spec::NameValue& field : edits.set) put_line(out, field.name, field.value);
  for (const spec::NameValue& field : edits.add) put_line(out, field.name, field.value);
  out += "\r\n";
}

bool has_dot_segment(std::string_view path) {
  return path.find("/.") != std::string_view::npos || path.find("%2e") != std::string_view::npos ||
         path.find("%2E") != std::string_view::npos;
}

bool is_below(std::string_view path, std::string_view prefix) {
  return path.starts_with(prefix) && (path.size() == prefix.size() || path[prefix.size()] == '/');
}

std::string_view as_root(std::string_view prefix) {
  return prefix == "/" ? "" : prefix;
}

// "https://host:1/path" -> its three parts; a path alone has no scheme and no authority.
struct Url {
  std::string_view scheme;
  std::string_view authority;
  std::string_view rest;
};

// The port that the scheme means anyway says nothing.
std::string_view without_default_port(std::string_view authority, std::string_view scheme) {
  const std::string_view port = equals_any_case(scheme, "https") ? ":443" : ":80";
  if (!scheme.empty() && authority.ends_with(port)) authority.remove_suffix(port.size());
  return authority;
}

Url split_url(std::string_view url) {
  Url out{{}, {}, url};
  const std::size_t colon = url.find("://");
  const bool is_absolute = colon != std::string_view::npos && url.find_first_of("/?#") == colon + 1;
  if (is_absolute) out.scheme = url.substr(0, colon);
  if (!is_absolute && !url.starts_with("//")) return out;
  url.remove_prefix(is_absolute ? colon + 3 : 2);
  const std::size_t end = std::min(url.find_first_of("/?#"), url.size());
  out.authority = url.substr(0, end);
  out.rest = url.substr(end);
  return out;
}

// Of one response: how names of the backend's side become names of the client's.
class Outward {
 public:
  Outward(const RouteSpec& route, const ResponseScene& scene) : scene_(scene) {
    if (!route.rules.rewrite) return;
    rewrite_ = &*route.rules.rewrite;
    if (rewrite_->prefix) inner_ = as_root(*rewrite_->prefix);
    outer_ = rewrite_->prefix ? template_prefix(route.path) : "";
  }

  std::string field(const Line& line) const {
    if (rewrite_ == nullptr) return std::string(line.value);
    if (http::equals_lower(line.name, "location")) return url(line.value);
    if (http::equals_lower(line.name, "content-location")) return url(line.value);
    if (http::equals_lower(line.name, "refresh")) return refresh(line.value);
    if (http::equals_lower(line.name, "set-cookie")) return cookie(line.value);
    return std::string(line.value);
  }

 private:
  bool is_backend(std::string_view authority) const {
    const bool by_host = rewrite_->host && equals_any_case(authority, *rewrite_->host);
    return by_host || equals_any_case(authority, scene_.upstream);
  }

  std::string url(std::string_view text) const {
    const Url parts = split_url(text);
    if (parts.authority.empty()) return text.starts_with('/') ? moved(text) : std::string(text);
    const std::string_view authority = without_default_port(parts.authority, parts.scheme);
    const bool is_own =
        equals_any_case(authority, without_default_port(scene_.authority, scene_.scheme));
    if (!is_own && !is_backend(authority)) return std::string(text);
    const std::string scheme(is_own && !parts.scheme.empty() ? parts.scheme : scene_.scheme);
    return scheme + "://" + std::string(scene_.authority) + moved(parts.rest);
  }

  std::string moved(std::string_view rest) const {
    const std::size_t end = std::min(rest.find_first_of("?#"), rest.size());
    const std::string_view path = rest.substr(0, end);
    if (!path.starts_with('/')) return std::string(rest);
    return moved_path(path, inner_, outer_) + std::string(rest.substr(end));
  }

  // "5; url=/x"
  std::string refresh(std::string_view text) const {
    std::string lower(text);
    for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
    const std::size_t at = lower.find("url=");
    if (at == std::string::npos) return std::string(text);
    return std::string(text.substr(0, at + 4)) + url(text.substr(at + 4));
  }

  std::string cookie(std::string_view text) const {
    const std::string_view domain =
        rewrite_->host ? host_without_port(*rewrite_->host) : std::string_view();
    return rescoped_cookie(text, {.path_from = inner_,
                                  .path_to = outer_,
                                  .domain_from = domain,
                                  .domain_to = host_without_port(scene_.authority)});
  }

  const ResponseScene& scene_;
  const spec::Rewrite* rewrite_ = nullptr;
  std::string_view inner_;  // the backend's prefix
  std::string_view outer_;  // the route's
};

std::string_view variable(std::string_view name, const RequestFacts& facts, std::string_view scheme,
                          std::string_view authority, std::string_view target) {
  const std::size_t question = target.find('?');
  if (name == "scheme") return scheme;
  if (name == "host") return authority;
  if (name == "path") return facts.path;
  if (name == "uri") return target;
  if (name == "query")
    return question == std::string_view::npos ? std::string_view() : target.substr(question);
  return {};
}

}  // namespace

bool edits_request(const RouteSpec& route) {
  return route.rules.rewrite.has_value() || !route.rules.headers.request.empty();
}

bool edits_response(const RouteSpec& route) {
  return route.rules.rewrite.has_value() || !route.rules.headers.response.empty();
}

std::string_view template_prefix(std::string_view path_template) {
  if (!path_template.ends_with("/*")) return {};
  return path_template.substr(0, path_template.size() - 2);
}

std::string moved_path(std::string_view path, std::string_view from, std::string_view to) {
  from = as_root(from);
  to = as_root(to);
  if (!is_below(path, from)) return std::string(path);
  const std::string_view rest = path.substr(from.size());
  if (to.empty() && rest.empty()) return "/";
  return std::string(to).append(rest);
}

std::string rewritten_target(std::string_view target, std::string_view path,
                             std::string_view route_prefix, std::string_view new_prefix) {
  const std::size_t question = std::min(target.find('?'), target.size());
  const std::string_view query = target.substr(question);
  std::string_view raw = target.substr(0, question);
  if (has_dot_segment(raw) || !is_below(raw, route_prefix)) raw = path;
  // Parameters in the prefix (/:tenant/*) match any segment, so segments are counted.
  const auto depth = std::ranges::count(route_prefix, '/');
  for (std::ptrdiff_t i = 0; i < depth; ++i) {
    const std::size_t slash = raw.find('/', 1);
    raw = slash == std::string_view::npos ? std::string_view() : raw.substr(slash);
  }
  std::string out(as_root(new_prefix));
  out += raw;
  if (!out.starts_with('/')) out.insert(0, "/");
  return out.append(query);
}

std::string edited_request_head(std::string_view head, const RouteSpec& route,
                                std::string_view path) {
  std::string_view first = take_line(head);
  const std::size_t begin = first.find(' ') + 1;
  const std::size_t end = first.rfind(' ');
  const std::string_view target = first.substr(begin, end - begin);
  const auto& rewrite = route.rules.rewrite;
  std::string out(first.substr(0, begin));
  if (rewrite && rewrite->prefix && target.starts_with('/'))
    out += rewritten_target(target, path, template_prefix(route.path), *rewrite->prefix);
  else
    out += target;
  out.append(first.substr(end)).append("\r\n");
  put_fields(out, head, route.rules.headers.request, [&](const Line& line) {
    const bool is_host = rewrite && rewrite->host && http::equals_lower(line.name, "host");
    return is_host ? std::string_view(*rewrite->host) : line.value;
  });
  return out;
}

std::string edited_response_head(std::string_view head, const RouteSpec& route,
                                 const ResponseScene& scene) {
  std::string out(take_line(head));
  out += "\r\n";
  const Outward outward(route, scene);
  put_fields(out, head, route.rules.headers.response,
             [&](const Line& line) { return outward.field(line); });
  return out;
}

std::string expanded_location(std::string_view location, const RouteSpec& route,
                              const RequestFacts& facts, std::string_view scheme,
                              std::string_view authority, std::string_view target) {
  const auto parameters = path_parameters(route.path, facts.path);
  std::string out;
  const bool begins_with_variable = location.starts_with("${");
  while (!location.empty()) {
    const std::size_t dollar = std::min(location.find("${"), location.size());
    const std::size_t close = location.find('}', dollar);
    if (close == std::string_view::npos) break;
    out += location.substr(0, dollar);
    const std::string_view name = location.substr(dollar + 2, close - dollar - 2);
    const auto parameter =
        std::ranges::find(parameters, name, &std::pair<std::string_view, std::string_view>::first);
    out += parameter != parameters.end() ? parameter->second
                                         : variable(name, facts, scheme, authority, target);
    location.remove_prefix(close + 1);
  }
  out += location;
  // "//evil.example" as the client's path would send the browser to another host.
  if (begins_with_variable && out.starts_with('/'))
    out.erase(0, std::min(out.find_first_not_of("/\\"), out.size()) - 1);
  return out;
}

}  // namespace banyan::gateway
