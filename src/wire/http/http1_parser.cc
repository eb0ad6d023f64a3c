#include "wire/http/http1_parser.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "wire/http/desync.h"
#include "wire/http/field_parser.h"
#include "wire/http/text.h"

namespace banyan::http {
namespace {

bool decide_keep_alive(const Gathered& gathered, int minor_version) {
  if (gathered.has_close) return false;
  return minor_version >= 1 || gathered.has_keep_alive;
}

// Splits an absolute-form target into authority and path. Null, or why it is refused.
const char* split_absolute(Head& head) {
  std::string_view rest = head.target;
  const std::size_t scheme = rest.find("://");
  const std::string_view name = rest.substr(0, scheme);
  if (scheme == std::string_view::npos ||
      !(equals_lower(name, "http") || equals_lower(name, "https")))
    return "bad target";
  rest.remove_prefix(scheme + 3);
  const std::size_t path = rest.find_first_of("/?");
  head.authority = rest.substr(0, path);
  if (!is_authority(head.authority)) return "bad authority in target";
  head.path = path == std::string_view::npos ? std::string_view("/") : rest.substr(path);
  // "http://host?query" has no place to put the missing slash.
  return head.path.front() == '?' ? "target without path" : nullptr;
}

const char* understand_target(Head& head) {
  if (head.target.front() == '/') {
    head.path = head.target;
    return nullptr;
  }
  if (head.target == "*") {
    head.path = head.target;
    return head.method == "OPTIONS" ? nullptr : "asterisk target";
  }
  return split_absolute(head);
}

// "GET /path HTTP/1.1\r\n"; on success `p` is behind it.
Parsed parse_request_line(Head& head, const char*& p, const char* end, const HeadLimits& limits) {
  const char* start = p;
  while (p < end && is_token_char(*p)) ++p;
  if (p - start > 32) return refused("method too long");
  if (p == end) return incomplete();
  if (p == start || *p != ' ') return refused("bad method");
  head.method = {start, static_cast<std::size_t>(p - start)};
  const char* target = ++p;
  while (p < end && *p > 0x20 && *p < 0x7f && *p != '#') ++p;
  if (static_cast<std::size_t>(p - start) > limits.head_bytes_max)
    return refused("target too long", 414);
  if (p == end) return incomplete();
  if (p == target || *p != ' ') return refused("bad target");
  head.target = {target, static_cast<std::size_t>(p - target)};
  ++p;
  constexpr std::string_view kVersion = "HTTP/1.";
  for (std::size_t i = 0; i < 10; ++i, ++p) {
    if (p == end) return incomplete();
    const bool fine = i < 7    ? *p == kVersion[i]
                      : i == 7 ? *p == '0' || *p == '1'
                      : i == 8 ? *p == '\r'
                               : *p == '\n';
    if (fine && i == 7) head.minor_version = *p - '0';
    if (fine) continue;
    const bool other_version = (i >= 5 && i <= 7) && *p >= '0' && *p <= '9';
    return other_version ? refused("http version", 505) : refused("bad request line");
  }
  if (head.method == "CONNECT") return refused("connect", 405);
  const char* reason = understand_target(head);
  return reason != nullptr ? refused(reason) : complete(0);
}

bool is_ascii(std::string_view bytes) {
  unsigned char all = 0;
  for (const char c : bytes) all |= static_cast<unsigned char>(c);
  return all < 0x80;
}

bool gives_body_no_meaning(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "TRACE";
}

void note_oddities(Head& head, const Gathered& gathered) {
  if (gathered.has_coding && gathered.has_length) head.oddities |= kCodingBesideLength;
  if ((gathered.has_coding || gathered.has_length) && gives_body_no_meaning(head.method))
    head.oddities |=
        head.framing == Framing::kNone ? kZeroLengthWithoutMeaning : kBodyWithoutMeaning;
  if (!is_ascii(head.raw)) head.oddities |= kNonAscii;
}

Parsed frame_request(Head& head, const Gathered& gathered) {
  if (head.minor_version == 1 && !gathered.has_host) return refused("no host");
  if (gathered.has_coding && head.minor_version == 0) return refused("coding in http/1.0");
  if (gathered.has_underscore_framing && (gathered.has_coding || gathered.has_length))
    return refused("framing field beside one spelt with underscore");
  head.framing = gathered.has_coding                              ? Framing::kChunked
                 : gathered.has_length && head.content_length > 0 ? Framing::kLength
                                                                  : Framing::kNone;
  note_oddities(head, gathered);
  if (gathered.has_coding) head.content_length = 0;
  // RFC 9112 section 6.3: the connection ends after a request with both.
  head.keep_alive = decide_keep_alive(gathered, head.minor_version) &&
                    !(gathered.has_coding && gathered.has_length);
  if (head.minor_version == 0) head.expects_continue = false;
  head.is_upgrade = gathered.has_upgrade_option && gathered.has_upgrade_field &&
                    !gathered.has_http_upgrade && head.minor_version == 1 &&
                    head.framing == Framing::kNone;
  return complete(head.raw.size());
}

// "HTTP/1.1 200 OK\r\n"; the blank and the reason may be missing.
Parsed parse_status_line(Head& head, const char*& p, const char* end) {
  constexpr std::string_view kVersion = "HTTP/1.";
  const auto have = static_cast<std::size_t>(end - p);
  if (std::memcmp(p, kVersion.data(), std::min(have, kVersion.size())) != 0) {
    return refused("bad status line");
  }
  if (have < 13) return incomplete();
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if ((p[7] != '0' && p[7] != '1') || p[8] != ' ' || p[9] < '1' || p[9] > '9' || !is_digit(p[10]) ||
      !is_digit(p[11]) || (p[12] != ' ' && p[12] != '\r')) {
    return refused("bad status line");
  }
  head.minor_version = p[7] - '0';
  head.status = (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
  p += p[12] == ' ' ? 13 : 12;
  const char* stop = find_control(p, end);
  if (stop == end || (*stop == '\r' && stop + 1 == end)) return incomplete();
  if (*stop != '\r' || stop[1] != '\n') return refused("bad status line");
  head.reason = {p, static_cast<std::size_t>(stop - p)};
  p = stop + 2;
  return complete(0);
}

Parsed frame_response(Head& head, const Gathered& gathered, Answers answers) {
  if (gathered.has_coding && gathered.has_length) return refused("length beside coding");
  if (gathered.has_coding && head.minor_version == 0) return refused("coding in http/1.0");
  const bool no_body = answers == Answers::kHead || head.status / 100 == 1 || head.status == 204 ||
                       head.status == 304;
  if (no_body)
    head.framing = Framing::kNone;
  else if (gathered.has_coding)
    head.framing = Framing::kChunked;
  else if (!gathered.has_length)
    head.framing = Framing::kUntilClose;
  else
    head.framing = head.content_length > 0 ? Framing::kLength : Framing::kNone;
  head.keep_alive =
      decide_keep_alive(gathered, head.minor_version) && head.framing != Framing::kUntilClose;
  head.is_upgrade = head.status == 101 && gathered.has_upgrade_field && !gathered.has_http_upgrade;
  return complete(head.raw.size());
}

}  // namespace

void Head::clear() {
  method = target = path = authority = reason = raw = {};
  status = 0;
  minor_version = 1;
  framing = Framing::kNone;
  content_length = 0;
  keep_alive = true;
  expects_continue = is_upgrade = false;
  oddities = 0;
  field_count_ = 0;
}

const Field* Head::find(std::string_view name) const {
  for (const Field& field : fields()) {
    if (equals_lower(field.name, name)) return &field;
  }
  return nullptr;
}

const Field* Head::find(FieldId id) const {
  for (const Field& field : fields()) {
    if (field.id == id) return &field;
  }
  return nullptr;
}

void Head::rebase(const char* from, const char* to) {
  const char* const end = raw.data() + raw.size();
  const auto move = [&](std::string_view& view) {
    // The path of an absolute-form target without one is a literal outside the bytes.
    if (view.data() >= from && view.data() <= end) view = {to + (view.data() - from), view.size()};
  };
  for (std::string_view* view : {&method, &target, &path, &authority, &reason}) move(*view);
  for (std::size_t i = 0; i < field_count_; ++i) {
    move(fields_[i].name);
    move(fields_[i].value);
  }
  move(raw);
}

Parsed parse_request(std::string_view bytes, Head& head, const HeadLimits& limits) {
  head.clear();
  const char* const begin = bytes.data();
  const char* const end = begin + bytes.size();
  const char* p = begin;
  if (bytes.starts_with("\r\n"))
    p += 2;
  else if (bytes == "\r")
    return incomplete();
  const char* const start = p;
  if (p == end) return incomplete();
  if (Parsed line = parse_request_line(head, p, end, limits); line.outcome != Outcome::kComplete) {
    return line;
  }
  FieldParser parser(head, Direction::kRequest, limits);
  Parsed parsed = parser.parse(start, p, end);
  if (parsed.outcome != Outcome::kComplete) return parsed;
  if (parser.gathered().nominates_others) parser.drop_nominated();
  if (start != begin) head.oddities |= kEmptyLineFirst;
  parsed = frame_request(head, parser.gathered());
  parsed.size += static_cast<std::size_t>(start - begin);
  return parsed;
}

Parsed parse_response(std::string_view bytes, Answers answers, Head& head,
                      const HeadLimits& limits) {
  head.clear();
  const char* const begin = bytes.data();
  const char* const end = begin + bytes.size();
  const char* p = begin;
  if (Parsed line = parse_status_line(head, p, end); line.outcome != Outcome::kComplete) {
    const bool over = line.outcome == Outcome::kIncomplete && bytes.size() > limits.head_bytes_max;
    return over ? refused("head too large", 431) : line;
  }
  FieldParser parser(head, Direction::kResponse, limits);
  const Parsed parsed = parser.parse(begin, p, end);
  if (parsed.outcome != Outcome::kComplete) return parsed;
  if (parser.gathered().nominates_others) parser.drop_nominated();
  return frame_response(head, parser.gathered(), answers);
}

bool head_may_be_complete(std::string_view bytes, std::size_t seen, const HeadLimits& limits) {
  if (seen == 0 || bytes.size() > limits.head_bytes_max) return true;
  const std::size_t from = seen > 3 ? seen - 3 : 0;
  return bytes.find("\r\n\r\n", from) != std::string_view::npos;
}

}  // namespace banyan::http
