#include "wire/http/http1_parser.h"

#include <algorithm>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <bit>
#include <cstring>
#include <optional>

namespace banyan::http {
namespace {

struct TokenTable {
  std::array<bool, 256> ok{};
  constexpr TokenTable() {
    for (int c = '0'; c <= '9'; ++c) ok[c] = true;
    for (int c = 'a'; c <= 'z'; ++c) ok[c] = ok[c - 32] = true;
    for (const char* c = "!#$%&'*+-.^_`|~"; *c != 0; ++c) ok[static_cast<unsigned char>(*c)] = true;
  }
};
constexpr TokenTable kToken;

bool is_token_char(char c) {
  return kToken.ok[static_cast<unsigned char>(c)];
}
bool is_blank(char c) {
  return c == ' ' || c == '\t';
}
char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}
bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

// The first control byte other than a tab, or `end`.
const char* find_control(const char* p, const char* end) {
#ifdef __SSE2__
  const __m128i space = _mm_set1_epi8(0x20);
  const __m128i tab = _mm_set1_epi8('\t');
  const __m128i del = _mm_set1_epi8(0x7f);
  for (; end - p >= 16; p += 16) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    __m128i fine = _mm_cmpeq_epi8(_mm_max_epu8(x, space), x);
    fine = _mm_or_si128(fine, _mm_cmpeq_epi8(x, tab));
    fine = _mm_andnot_si128(_mm_cmpeq_epi8(x, del), fine);
    const auto bad = static_cast<unsigned>(_mm_movemask_epi8(fine)) ^ 0xffffU;
    if (bad != 0) return p + std::countr_zero(bad);
  }
#endif
  while (p < end && !is_control(*p)) ++p;
  return p;
}

bool same_ignoring_case(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

// As equals_lower, but '_' counts as '-': how CGI and WSGI see a name.
bool equals_as_cgi(std::string_view name, std::string_view lower_name) {
  if (name.size() != lower_name.size()) return false;
  for (std::size_t i = 0; i < name.size(); ++i) {
    const char c = name[i] == '_' ? '-' : lower(name[i]);
    if (c != lower_name[i]) return false;
  }
  return true;
}

struct Known {
  std::string_view name;
  FieldId id;
};
constexpr Known kKnown[] = {
    {"te", FieldId::kHopByHop},
    {"via", FieldId::kVia},
    {"host", FieldId::kHost},
    {"expect", FieldId::kExpect},
    {"upgrade", FieldId::kUpgrade},
    {"forwarded", FieldId::kForwarded},
    {"connection", FieldId::kConnection},
    {"keep-alive", FieldId::kHopByHop},
    {"traceparent", FieldId::kTraceparent},
    {"x-request-id", FieldId::kRequestId},
    {"content-type", FieldId::kContentType},
    {"content-length", FieldId::kContentLength},
    {"http2-settings", FieldId::kHopByHop},
    {"x-forwarded-for", FieldId::kForwardedFor},
    {"x-forwarded-host", FieldId::kForwardedHost},
    {"proxy-connection", FieldId::kHopByHop},
    {"x-forwarded-proto", FieldId::kForwardedProto},
    {"transfer-encoding", FieldId::kTransferEncoding},
    {"proxy-authorization", FieldId::kHopByHop},
};
constexpr std::size_t kKnownNameMax = 19;

// Which entries of kKnown have a name of this length.
struct LengthIndex {
  std::array<std::uint32_t, kKnownNameMax + 1> entries{};
  constexpr LengthIndex() {
    std::uint32_t bit = 1;
    for (const Known& known : kKnown) {
      entries[known.name.size()] |= bit;
      bit <<= 1;
    }
  }
};
constexpr LengthIndex kByLength;

bool contains_underscore(std::string_view name) {
  return std::memchr(name.data(), '_', name.size()) != nullptr;
}

// What the gateway itself says about a client's certificate must not come from a client.
bool is_client_certificate(std::string_view name) {
  constexpr std::string_view kPrefix = "x-client-cert";
  return name.size() >= kPrefix.size() && (name[0] | 0x20) == 'x' && (name[2] | 0x20) == 'c' &&
         equals_as_cgi(name.substr(0, kPrefix.size()), kPrefix);
}

FieldId classify(std::string_view name) {
  if (is_client_certificate(name)) return FieldId::kSpoofed;
  if (name.size() > kKnownNameMax) return FieldId::kOther;
  std::uint32_t entries = kByLength.entries[name.size()];
  for (; entries != 0; entries &= entries - 1) {
    const Known& known = kKnown[std::countr_zero(entries)];
    if (lower(name[0]) != known.name[0]) continue;
    if (equals_lower(name, known.name)) return known.id;
    if (contains_underscore(name) && equals_as_cgi(name, known.name)) return FieldId::kSpoofed;
  }
  return FieldId::kOther;
}

bool is_dropped_always(FieldId id) {
  return id == FieldId::kHopByHop || id == FieldId::kConnection || id == FieldId::kUpgrade ||
         id == FieldId::kSpoofed || id == FieldId::kTransferEncoding;
}

Parsed refused(const char* reason, int status = 400) {
  return {.outcome = Outcome::kRefused, .status = status, .reason = reason};
}
Parsed incomplete() {
  return {.outcome = Outcome::kIncomplete};
}
Parsed complete(std::size_t size) {
  return {.outcome = Outcome::kComplete, .size = size};
}

// What is known about framing and persistence once all fields have been read.
struct Gathered {
  bool has_length = false;
  bool has_coding = false;
  bool has_host = false;
  bool has_upgrade_field = false;
  bool has_close = false;
  bool has_keep_alive = false;
  bool has_upgrade_option = false;
  bool nominates_others = false;
};

enum class Direction : std::uint8_t { kRequest, kResponse };

class FieldParser {
 public:
  FieldParser(Head& head, Direction direction, const HeadLimits& limits)
      : head_(head), direction_(direction), limits_(limits) {}

  // Parses the field lines in [p, end), the final empty line included.
  Parsed parse(const char* begin, const char* p, const char* end);
  const Gathered& gathered() const { return gathered_; }
  // Fields named by Connection travel no further.
  void drop_nominated();

 private:
  const char* line(const char* p, const char* end, Parsed& out);
  const char* understand(Field& field, Parsed& out);
  const char* length(Field& field);
  const char* coding(const Field& field, Parsed& out);
  const char* host(const Field& field);
  const char* expect(const Field& field, Parsed& out);
  void connection(std::string_view value);

  Head& head_;
  Direction direction_;
  const HeadLimits& limits_;
  Gathered gathered_;
};

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

const char* FieldParser::length(Field& field) {
  const auto value = parse_length(field.value);
  if (!value) return "bad content-length";
  if (gathered_.has_length) {
    const bool same = direction_ == Direction::kResponse && head_.content_length == *value;
    if (!same) return "repeated content-length";
    field.hop_by_hop = true;
  }
  gathered_.has_length = true;
  head_.content_length = *value;
  return nullptr;
}

const char* FieldParser::coding(const Field& field, Parsed& out) {
  if (gathered_.has_coding) return "repeated transfer-encoding";
  gathered_.has_coding = true;
  if (equals_lower(field.value, "chunked")) return nullptr;
  out.status = 501;
  return "transfer-encoding other than chunked";
}

bool is_authority(std::string_view text) {
  if (text.empty() || text.size() > 255 + 6) return false;
  for (char c : text) {
    const bool fine = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                      std::strchr("-._~%!$&'()*+;=:[]", c) != nullptr;
    if (!fine || c == 0) return false;
  }
  return true;
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
    const std::size_t comma = value.find(',');
    std::string_view option = value.substr(0, comma);
    value.remove_prefix(comma == std::string_view::npos ? value.size() : comma + 1);
    while (!option.empty() && is_blank(option.front())) option.remove_prefix(1);
    while (!option.empty() && is_blank(option.back())) option.remove_suffix(1);
    if (equals_lower(option, "close"))
      gathered_.has_close = true;
    else if (equals_lower(option, "keep-alive"))
      gathered_.has_keep_alive = true;
    else if (equals_lower(option, "upgrade"))
      gathered_.has_upgrade_option = true;
    else if (!option.empty())
      gathered_.nominates_others = true;
  }
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
      return nullptr;
    case FieldId::kSpoofed:
      return equals_as_cgi(field.name, "content-length") ||
                     equals_as_cgi(field.name, "transfer-encoding")
                 ? "framing field spelt with underscore"
                 : nullptr;
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

Parsed frame_request(Head& head, const Gathered& gathered) {
  if (head.minor_version == 1 && !gathered.has_host) return refused("no host");
  if (gathered.has_coding && gathered.has_length) return refused("length beside coding");
  if (gathered.has_coding && head.minor_version == 0) return refused("coding in http/1.0");
  head.framing = gathered.has_coding                              ? Framing::kChunked
                 : gathered.has_length && head.content_length > 0 ? Framing::kLength
                                                                  : Framing::kNone;
  head.keep_alive = decide_keep_alive(gathered, head.minor_version);
  if (head.minor_version == 0) head.expects_continue = false;
  head.is_upgrade = gathered.has_upgrade_option && gathered.has_upgrade_field &&
                    head.minor_version == 1 && head.framing == Framing::kNone;
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
  head.is_upgrade = head.status == 101 && gathered.has_upgrade_field;
  return complete(head.raw.size());
}

}  // namespace

bool equals_lower(std::string_view text, std::string_view lower_text) {
  if (text.size() != lower_text.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (lower(text[i]) != lower_text[i]) return false;
  }
  return true;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, is_token_char);
}

bool list_names(std::string_view list, std::string_view lower_text) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    std::string_view element = list.substr(0, comma);
    list.remove_prefix(comma == std::string_view::npos ? list.size() : comma + 1);
    while (!element.empty() && is_blank(element.front())) element.remove_prefix(1);
    while (!element.empty() && is_blank(element.back())) element.remove_suffix(1);
    if (equals_lower(element, lower_text)) return true;
  }
  return false;
}

void Head::clear() {
  method = target = path = authority = reason = raw = {};
  status = 0;
  minor_version = 1;
  framing = Framing::kNone;
  content_length = 0;
  keep_alive = true;
  expects_continue = is_upgrade = false;
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
