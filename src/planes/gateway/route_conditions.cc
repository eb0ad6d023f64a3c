#include "planes/gateway/route_conditions.h"

#include <fmt/format.h>

#include <algorithm>

#include "wire/http/text.h"

namespace banyan::gateway {
namespace {

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') return (c | 0x20) - 'a' + 10;
  return -1;
}

// As forms are encoded; a bad escape stays as it is.
std::string decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() && hex_value(text[i + 1]) >= 0 &&
                        hex_value(text[i + 2]) >= 0;
    if (escape) {
      out += static_cast<char>(hex_value(text[i + 1]) * 16 + hex_value(text[i + 2]));
      i += 2;
    } else {
      out += text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

// `found` is null when there is no such name.
bool meets(const std::string& wanted, const std::string* found) {
  if (wanted == "!") return found == nullptr;
  return found != nullptr && (wanted == "*" || *found == wanted);
}

std::string unmet_text(std::string_view kind, const spec::NameValue& wanted) {
  if (wanted.value == "!") return fmt::format("{} {} is there", kind, wanted.name);
  if (wanted.value == "*") return fmt::format("{} {} is not there", kind, wanted.name);
  return fmt::format("{} {} is not {}", kind, wanted.name, wanted.value);
}

}  // namespace

bool find_parameter(std::string_view query, std::string_view name, std::string* value) {
  while (!query.empty()) {
    const std::size_t end = query.find('&');
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(end == std::string_view::npos ? query.size() : end + 1);
    const std::size_t equals = pair.find('=');
    if (decoded(pair.substr(0, equals)) != name) continue;
    if (value != nullptr)
      *value = equals == std::string_view::npos ? "" : decoded(pair.substr(equals + 1));
    return true;
  }
  return false;
}

RouteConditions::RouteConditions(const spec::RouteWhen& when)
    : size_(when.headers.size() + when.query.size() + (when.sources.empty() ? 0 : 1)), when_(when) {
  for (const std::string& source : when.sources) {
    if (const auto cidr = spec::Cidr::parse(source)) sources_.push_back(*cidr);
  }
}

std::string RouteConditions::unmet_header(const RequestFacts& facts) const {
  for (const spec::NameValue& wanted : when_.headers) {
    const bool found = std::ranges::any_of(facts.fields, [&](const http::Field& field) {
      if (!http::equals_lower(field.name, wanted.name)) return false;
      return wanted.value == "!" || wanted.value == "*" || field.value == wanted.value;
    });
    if (found == (wanted.value == "!")) return unmet_text("header", wanted);
  }
  return {};
}

std::string RouteConditions::unmet_query(const RequestFacts& facts) const {
  std::string value;
  for (const spec::NameValue& wanted : when_.query) {
    const bool found = find_parameter(facts.query, wanted.name, &value);
    if (!meets(wanted.value, found ? &value : nullptr)) return unmet_text("query", wanted);
  }
  return {};
}

std::string RouteConditions::unmet(const RequestFacts& facts) const {
  if (std::string header = unmet_header(facts); !header.empty()) return header;
  if (std::string query = unmet_query(facts); !query.empty()) return query;
  if (when_.sources.empty()) return {};
  const auto address = spec::parse_ip(facts.client_ip);
  const bool inside = address && std::ranges::any_of(sources_, [&](const spec::Cidr& source) {
                        return source.holds(*address);
                      });
  return inside ? "" : "the client's address is in none of the ranges";
}

}  // namespace banyan::gateway
