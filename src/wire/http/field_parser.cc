#include "wire/http/field_parser.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "wire/http/desync.h"
#include "wire/http/field_id.h"
#include "wire/http/text.h"

namespace banyan::http {
namespace {

// Digits only, at most 18 of them.
std::optional<std::uint64_t> parse_length(std::string_view text) {
  if (text.empty() || text.size() > 18) return std::nullopt;
  std::uint64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

// Where a message ends and who it is for.
bool is_framing(std::string_view option) {
  return equals_lower(option, "content-length") || equals_lower(option, "transfer-encoding") ||
         equals_lower(option, "host");
}

// HTTP/2 over an upgraded connection (h2c, deprecated by RFC 9113) would carry requests past the
// routes; TLS inside (RFC 2817) likewise.
bool names_http(std::string_view upgrade) {
  while (!upgrade.empty()) {
    const std::string_view protocol = take_element(upgrade);
    const std::string_view name = protocol.substr(0, protocol.find('/'));
    if (equals_lower(name, "h2c") || equals_lower(name, "h2") || equals_lower(name, "http") ||
        equals_lower(name, "tls"))
      return true;
  }
  return false;
}

}  // namespace

bool is_authority(std::string_view text) {
  if (text.empty() || text.size() > 255 + 6) return false;
  for (char c : text) {
    const bool fine = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      std::strchr("-._~%!$&'()*+;=:[]", c) != nullptr;
    if (!fine || c == 0) return false;
  }
  return true;
}

const char* FieldParser::length(Field& field) {
  if (field.value.ends_with(',')) return "bad content-length";
  std::string_view list = field.value;
  do {  // once too when it is empty
    const std::string_view text = take_element(list);
    const auto value = parse_length(text);
    if (!value) return "bad content-length";
    if (gathered_.has_length) {
      if (head_.content_length != *value) return "content-lengths differ";
      head_.oddities |= kRepeatedLength;
    }
    if (text.size() > 1 && text.front() == '0') head_.oddities |= kPaddedLength;
    gathered_.has_length = true;
    head_.content_length = *value;
  } while (!list.empty());
  return nullptr;
}

const char* FieldParser::coding(const Field& field, Parsed& out) {
  if (gathered_.has_coding) return "repeated transfer-encoding";
  gathered_.has_coding = true;
  if (equals_lower(field.value, "chunked")) return nullptr;
  out.status = 501;
  return "transfer-encoding other than chunked";
}

const char* FieldParser::host(const Field& field) {
  if (direction_ == Direction::kResponse) return nullptr;
  if (gathered_.has_host) return "repeated host";
  gathered_.has_host = true;
  if (!is_authority(field.value)) return "bad host";
  if (head_.authority.empty()) {
    head_.authority = field.value;
  } else if (!same_ignoring_case(head_.authority, field.value)) {
    return "host differs from target";
  }
  return nullptr;
}

const char* FieldParser::expect(const Field& field, Parsed& out) {
  if (direction_ == Direction::kResponse) return nullptr;
  if (equals_lower(field.value, "100-continue")) {
    head_.expects_continue = true;
    return nullptr;
  }
  out.status = 417;
  return "unknown expectation";
}

void FieldParser::connection(std::string_view value) {
  while (!value.empty()) {
    const std::string_view option = take_element(value);
    if (equals_lower(option, "close"))
      gathered_.has_close = true;
    else if (equals_lower(option, "keep-alive"))
      gathered_.has_keep_alive = true;
    else if (equals_lower(option, "upgrade"))
      gathered_.has_upgrade_option = true;
    else if (!option.empty())
      gathered_.nominates_others = true;
    if (is_framing(option)) head_.oddities |= kNominatedFraming;
  }
}

void FieldParser::spoofed(const Field& field) {
  const bool is_framing_field =
      equals_as_cgi(field.name, "content-length") || equals_as_cgi(field.name, "transfer-encoding");
  gathered_.has_underscore_framing |= is_framing_field;
  head_.oddities |= is_framing_field ? kUnderscoreFraming : kSpoofedField;
}

// Null, or why the message is refused.
const char* FieldParser::understand(Field& field, Parsed& out) {
  switch (field.id) {
    case FieldId::kContentLength:
      return length(field);
    case FieldId::kTransferEncoding:
      return coding(field, out);
    case FieldId::kHost:
      return host(field);
    case FieldId::kExpect:
      return expect(field, out);
    case FieldId::kConnection:
      connection(field.value);
      return nullptr;
    case FieldId::kUpgrade:
      gathered_.has_upgrade_field = true;
      gathered_.has_http_upgrade |= names_http(field.value);
      return nullptr;
    case FieldId::kSpoofed:
      spoofed(field);
      return nullptr;
    default:
      return nullptr;
  }
}

// One field line; returns what follows it, or null with `out` set.
const char* FieldParser::line(const char* p, const char* end, Parsed& out) {
  const char* colon = p;
  while (colon < end && is_token_char(*colon)) ++colon;
  if (colon == end) {
    out = incomplete();
    return nullptr;
  }
  if (colon == p || *colon != ':') {
    out = refused(is_blank(*p) ? "folded or blank-led line" : "bad field name");
    return nullptr;
  }
  const char* value = colon + 1;
  while (value < end && is_blank(*value)) ++value;
  const char* stop = find_control(value, end);
  if (stop == end || (*stop == '\r' && stop + 1 == end)) {
    out = incomplete();
    return nullptr;
  }
  if (*stop != '\r' || stop[1] != '\n') {
    out = refused(*stop == '\n' ? "bare lf" : *stop == '\r' ? "bare cr" : "control byte in field");
    return nullptr;
  }
  const char* tail = stop;
  while (tail > value && is_blank(tail[-1])) --tail;
  if (head_.field_count_ >= std::min(limits_.fields_max, kFieldsMax)) {
    out = refused("too many fields", 431);
    return nullptr;
  }
  Field& field = head_.fields_[head_.field_count_++];
  field.name = {p, static_cast<std::size_t>(colon - p)};
  field.value = {value, static_cast<std::size_t>(tail - value)};
  field.id = classify(field.name);
  field.hop_by_hop = field.id != FieldId::kOther && is_dropped_always(field.id);
  if (field.id != FieldId::kOther) {
    Parsed why;
    if (const char* reason = understand(field, why)) {
      out = refused(reason, why.status);
      return nullptr;
    }
  }
  return stop + 2;
}

Parsed FieldParser::parse(const char* begin, const char* p, const char* end) {
  const char* const limit = begin + limits_.head_bytes_max;
  for (;;) {
    if (p > limit) return refused("head too large", 431);
    if (p == end) return incomplete();
    if (*p == '\r') {
      if (p + 1 == end) return incomplete();
      if (p[1] != '\n') return refused("bare cr");
      head_.raw = {begin, static_cast<std::size_t>(p + 2 - begin)};
      return complete(head_.raw.size());
    }
    if (*p == '\n') return refused("bare lf");
    Parsed out;
    p = line(p, end, out);
    if (p == nullptr) {
      const bool over = out.outcome == Outcome::kIncomplete && end > limit;
      return over ? refused("head too large", 431) : out;
    }
  }
}

void FieldParser::drop_nominated() {
  for (std::size_t i = 0; i < head_.field_count_; ++i) {
    if (head_.fields_[i].id != FieldId::kConnection) continue;
    for (std::size_t k = 0; k < head_.field_count_; ++k) {
      Field& field = head_.fields_[k];
      // Framing and routing are not the client's to take away.
      const bool end_to_end = field.id != FieldId::kOther && field.id != FieldId::kTraceparent &&
                              field.id != FieldId::kRequestId;
      if (end_to_end || field.name.size() > 256) continue;
      std::array<char, 256> name;
      for (std::size_t c = 0; c < field.name.size(); ++c) name[c] = lower(field.name[c]);
      if (list_names(head_.fields_[i].value, {name.data(), field.name.size()})) {
        field.hop_by_hop = true;
      }
    }
  }
}

}  // namespace banyan::http
