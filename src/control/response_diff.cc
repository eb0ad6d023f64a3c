#include "control/response_diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string_view>

namespace banyan::control {
namespace {

using Verdict = ResponseDiff::Verdict;
using Fields = std::map<std::string, std::vector<std::string>>;
using Tokens = std::vector<std::string_view>;

constexpr std::size_t kExcerptBytes = 60;
constexpr auto kIgnored = std::to_array<std::string_view>(
    {"date", "connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade",
     "proxy-connection", "proxy-authenticate", "proxy-authorization", "content-length", "via"});

std::string_view trimmed(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

// "csrftoken=abc; Path=/; expires=Fri, ..." → "csrftoken; Path=/; expires"
std::string cookie_shape(std::string_view cookie) {
  std::string shape;
  while (!cookie.empty()) {
    const auto end = cookie.find(';');
    std::string_view part = trimmed(cookie.substr(0, end));
    cookie.remove_prefix(end == std::string_view::npos ? cookie.size() : end + 1);
    const auto name = part.substr(0, part.find('='));
    const bool is_value = shape.empty() || name == "expires" || name == "Expires";
    shape += shape.empty() ? "" : "; ";
    shape += is_value ? name : part;
  }
  return shape;
}

Fields fields_of(const HttpAnswer& answer) {
  Fields fields;
  for (const auto& [name, value] : answer.headers) {
    if (std::ranges::find(kIgnored, name) != kIgnored.end()) continue;
    fields[name].push_back(name == "set-cookie" ? cookie_shape(value) : value);
  }
  for (auto& [name, values] : fields) std::ranges::sort(values);
  return fields;
}

std::string shown(const Fields& fields, const std::string& name) {
  const auto found = fields.find(name);
  if (found == fields.end()) return "not there";
  return fmt::format("\"{}\"", fmt::join(found->second, "\", \""));
}

bool belongs_to_token(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
         std::string_view("+/=_-%.:").find(c) != std::string_view::npos;
}

// Words and the single characters between them: what an application varies is a word.
Tokens tokens_of(std::string_view body) {
  Tokens tokens;
  for (std::size_t at = 0; at < body.size();) {
    std::size_t end = at;
    while (end < body.size() && belongs_to_token(body[end])) ++end;
    if (end == at) ++end;
    tokens.push_back(body.substr(at, end - at));
    at = end;
  }
  return tokens;
}

std::string excerpt(std::string_view body, std::size_t at) {
  std::string text(body.substr(std::min(at, body.size()), kExcerptBytes));
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) c = '.';
  return text;
}

std::string body_difference(std::string_view mine, std::string_view theirs) {
  const auto [a, b] = std::ranges::mismatch(mine, theirs);
  const auto at = static_cast<std::size_t>(a - mine.begin());
  return fmt::format("body from byte {}: directly \"{}\", through the gateway \"{}\"", at,
                     excerpt(mine, at), excerpt(theirs, at));
}

// Nothing when the application's own bodies cannot be aligned.
std::optional<bool> same_body(const HttpAnswer& before, const HttpAnswer& after,
                              const HttpAnswer& gateway) {
  if (before.body == after.body) return gateway.body == before.body;
  const Tokens one = tokens_of(before.body);
  const Tokens two = tokens_of(after.body);
  const Tokens three = tokens_of(gateway.body);
  if (one.size() != two.size()) return std::nullopt;
  if (one.size() != three.size()) return false;
  for (std::size_t i = 0; i < one.size(); ++i)
    if (one[i] == two[i] && one[i] != three[i]) return false;
  return true;
}

void compare_fields(const HttpAnswer& before, const HttpAnswer& after, const HttpAnswer& gateway,
                    std::vector<std::string>& what) {
  const Fields one = fields_of(before);
  const Fields two = fields_of(after);
  const Fields three = fields_of(gateway);
  std::set<std::string> names;
  for (const Fields* fields : {&one, &two, &three})
    for (const auto& [name, ignored] : *fields) names.insert(name);
  for (const std::string& name : names) {
    const bool is_noise = one.contains(name) && two.contains(name) && three.contains(name) &&
                          one.at(name) != two.at(name);
    if (is_noise || shown(one, name) == shown(three, name)) continue;
    what.push_back(fmt::format("header {}: directly {}, through the gateway {}", name,
                               shown(one, name), shown(three, name)));
  }
}

}  // namespace

ResponseDiff compare_answers(const HttpAnswer& before, const HttpAnswer& after,
                             const HttpAnswer& gateway) {
  if (before.status != after.status) {
    const auto why =
        fmt::format("the application answers {} and then {}", before.status, after.status);
    return {.verdict = Verdict::kMoving, .what = {why}};
  }
  ResponseDiff diff;
  if (before.status != gateway.status)
    diff.what.push_back(
        fmt::format("status: directly {}, through the gateway {}", before.status, gateway.status));
  compare_fields(before, after, gateway, diff.what);
  const auto same = same_body(before, after, gateway);
  if (same && !*same) diff.what.push_back(body_difference(before.body, gateway.body));
  if (!same && diff.what.empty())
    return {.verdict = Verdict::kMoving,
            .what = {"the application's own answers differ too much to compare"}};
  if (!diff.what.empty()) diff.verdict = Verdict::kDifferent;
  return diff;
}

}  // namespace banyan::control
