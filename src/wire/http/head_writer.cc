#include "wire/http/head_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "wire/http/text.h"

namespace banyan::http {
namespace {

constexpr std::string_view kVia = "via: 1.1 banyan\r\n";
// What is written besides the copied fields: names, values of fixed size, the empty line.
constexpr std::size_t kOverheadMax = 512;

char* put(char* out, std::string_view text) {
  return std::copy(text.begin(), text.end(), out);  // an empty text may have no data
}

template <class... Parts>
char* put_all(char* out, Parts... parts) {
  ((out = put(out, parts)), ...);
  return out;
}

bool is_lower_hex(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

void put_hex(char* out, std::uint64_t value) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (int i = 15; i >= 0; --i, value >>= 4) out[i] = kDigits[value & 15];
}

// "00-<32 hex>-<16 hex>-<2 hex>" with a trace id that is not all zeros.
bool is_traceparent(std::string_view text) {
  return text.size() == 55 && text.starts_with("00-") && text[35] == '-' && text[52] == '-' &&
         is_lower_hex(text.substr(3, 32)) && is_lower_hex(text.substr(36, 16)) &&
         is_lower_hex(text.substr(53, 2)) &&
         text.substr(3, 32).find_first_not_of('0') != std::string_view::npos;
}

bool is_request_id(std::string_view text) {
  return text.size() <= 128 && is_token(text);
}

// Copies the fields for which `keeps` holds, in as few pieces as possible.
template <class Keeps>
char* copy_fields(char* out, const Head& head, Keeps keeps) {
  const auto fields = head.fields();
  const char* const end = head.raw.data() + head.raw.size() - 2;
  const char* piece = nullptr;
  for (const Field& field : fields) {
    const bool kept = !field.hop_by_hop && keeps(field);
    if (kept && piece == nullptr) piece = field.name.data();
    if (!kept && piece != nullptr) {
      out = put(out, {piece, static_cast<std::size_t>(field.name.data() - piece)});
      piece = nullptr;
    }
  }
  if (piece != nullptr) out = put(out, {piece, static_cast<std::size_t>(end - piece)});
  return out;
}

bool is_forwarded_upstream(const Field& field, const UpstreamRewrite& rewrite,
                           bool counts_forwards) {
  switch (field.id) {
    case FieldId::kOther:
    case FieldId::kContentType:
    case FieldId::kVia:
      return true;
    case FieldId::kMaxForwards:
      return !counts_forwards;
    case FieldId::kContentLength:
      return false;  // written from the decision
    case FieldId::kForwardedProto:
    case FieldId::kForwardedHost:
    case FieldId::kForwarded:
      return rewrite.trust_forwarded == Trust::kYes;
    default:
      return false;
  }
}

char* put_number(char* out, std::uint64_t value) {
  const fmt::format_int text(value);
  return put(out, {text.data(), text.size()});
}

char* put_framing(char* out, const Head& head) {
  if (head.framing == Framing::kChunked) return put(out, "transfer-encoding: chunked\r\n");
  if (head.find(FieldId::kContentLength) == nullptr) return out;
  return put(put_number(put(out, "content-length: "), head.content_length), "\r\n");
}

char* put_forwards(char* out, std::uint32_t left) {
  out = put(out, "max-forwards: ");
  return put(put_number(out, left > 0 ? left - 1 : 0), "\r\n");
}

char* put_forwarded_for(char* out, const Head& request, std::string_view client_ip) {
  out = put(out, "x-forwarded-for: ");
  for (const Field& field : request.fields()) {
    if (field.id == FieldId::kForwardedFor && !field.value.empty()) {
      out = put_all(out, field.value, std::string_view(", "));
    }
  }
  return put_all(out, client_ip, std::string_view("\r\n"));
}

char* put_forwarded(char* out, const Head& request, const UpstreamRewrite& rewrite) {
  out = put_forwarded_for(out, request, rewrite.client_ip);
  const bool trusts = rewrite.trust_forwarded == Trust::kYes;
  if (!trusts || request.find(FieldId::kForwardedProto) == nullptr) {
    out = put_all(out, std::string_view("x-forwarded-proto: "), rewrite.scheme,
                  std::string_view("\r\n"));
  }
  if (!request.authority.empty() && (!trusts || request.find(FieldId::kForwardedHost) == nullptr)) {
    out = put_all(out, std::string_view("x-forwarded-host: "), request.authority,
                  std::string_view("\r\n"));
  }
  return out;
}

char* put_trace(char* out, const Head& request, const TraceContext& trace) {
  const Field* id = request.find(FieldId::kRequestId);
  const bool keeps_id = id != nullptr && is_request_id(id->value);
  return put_all(out, std::string_view("traceparent: 00-"), trace.trace(), std::string_view("-"),
                 std::string_view(trace.span_id.data(), 16), std::string_view("-"),
                 std::string_view(trace.flags.data(), 2), std::string_view("\r\nx-request-id: "),
                 keeps_id ? id->value : trace.trace(), std::string_view("\r\n"));
}

char* put_upgrade(char* out, const Head& head) {
  const Field* upgrade = head.is_upgrade ? head.find(FieldId::kUpgrade) : nullptr;
  if (upgrade == nullptr) return out;
  return put_all(out, std::string_view("connection: upgrade\r\nupgrade: "), upgrade->value,
                 std::string_view("\r\n"));
}

// The status line up to, not including, its CRLF.
char* put_status(char* out, const Head& response) {
  out = put(out, "HTTP/1.1 ");
  out = put_number(out, static_cast<std::uint64_t>(response.status));
  return put_all(out, std::string_view(" "), response.reason, std::string_view("\r\n"));
}

char* put_date(char* out, std::string_view date) {
  return put_all(out, std::string_view("date: "), date, std::string_view("\r\n"));
}

std::string date_line(std::string_view date) {
  return date.empty() ? std::string() : fmt::format("date: {}\r\n", date);
}

bool has_no_length(const Head& response) {
  return response.status / 100 == 1 || response.status == 204;
}

bool names_coding(const Head& response) {
  return response.find(FieldId::kTransferEncoding) != nullptr;
}

char* put_client_framing(char* out, const Head& response, bool is_http10) {
  if (has_no_length(response)) return out;
  // A response to HEAD says what GET would have said, so its coding is kept without a body.
  if (names_coding(response)) return is_http10 ? out : put(out, "transfer-encoding: chunked\r\n");
  return put_framing(out, response);
}

std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ULL;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

}  // namespace

IdSource::IdSource(std::uint64_t seed)
    : a_(mix(seed + 0x9e3779b97f4a7c15ULL) | 1), b_(mix(seed + 0x3c6ef372fe94f82aULL)) {}

std::uint64_t IdSource::next() {  // xorshift128+
  std::uint64_t s1 = a_;
  const std::uint64_t s0 = b_;
  a_ = s0;
  s1 ^= s1 << 23;
  b_ = s1 ^ s0 ^ (s1 >> 17) ^ (s0 >> 26);
  return b_ + s0;
}

TraceContext trace_for(const Head& request, IdSource& ids) {
  TraceContext trace{};
  const Field* parent = request.find(FieldId::kTraceparent);
  if (parent != nullptr && is_traceparent(parent->value)) {
    std::memcpy(trace.trace_id.data(), parent->value.data() + 3, 32);
    std::memcpy(trace.flags.data(), parent->value.data() + 53, 2);
  } else {
    put_hex(trace.trace_id.data(), ids.next());
    put_hex(trace.trace_id.data() + 16, ids.next());
    trace.flags = {'0', '1'};
  }
  put_hex(trace.span_id.data(), ids.next());
  return trace;
}

namespace {

std::string_view upstream_host(const Head& request, const UpstreamRewrite& rewrite) {
  if (!rewrite.host.empty()) return rewrite.host;
  return request.authority.empty() ? rewrite.host_if_none : request.authority;
}

}  // namespace

std::optional<std::uint32_t> forwards_left(const Head& request) {
  if (request.method != "TRACE" && request.method != "OPTIONS") return std::nullopt;
  const Field* const field = request.find(FieldId::kMaxForwards);
  if (field == nullptr) return std::nullopt;
  std::uint32_t left = 0;
  const char* const end = field->value.data() + field->value.size();
  const auto [stopped, trouble] = std::from_chars(field->value.data(), end, left);
  if (trouble != std::errc() || stopped != end) return std::nullopt;
  return left;
}

std::size_t upstream_head_bytes_max(const Head& request, const UpstreamRewrite& rewrite) {
  return request.raw.size() + request.authority.size() + rewrite.client_ip.size() +
         rewrite.scheme.size() + rewrite.host.size() + rewrite.host_if_none.size() +
         rewrite.more.size() + 2 * request.field_count_ + kOverheadMax;
}

std::size_t write_upstream_head(const Head& request, const UpstreamRewrite& rewrite, char* out) {
  char* const start = out;
  out = put_all(out, request.method, std::string_view(" "), request.path,
                std::string_view(" HTTP/1.1\r\nhost: "), upstream_host(request, rewrite),
                std::string_view("\r\n"));
  const auto forwards = forwards_left(request);
  out = copy_fields(out, request, [&](const Field& field) {
    return is_forwarded_upstream(field, rewrite, forwards.has_value());
  });
  if (forwards) out = put_forwards(out, *forwards);
  out = put_framing(out, request);
  if (request.expects_continue && rewrite.expect == Expect::kForward) {
    out = put(out, "expect: 100-continue\r\n");
  }
  out = put_upgrade(out, request);
  out = put_forwarded(out, request, rewrite);
  out = put_trace(out, request, *rewrite.trace);
  out = put_all(out, rewrite.more, kVia, std::string_view("\r\n"));
  return static_cast<std::size_t>(out - start);
}

std::size_t client_head_bytes_max(const Head& response, const ClientRewrite& rewrite) {
  return response.raw.size() + rewrite.hsts.size() + rewrite.date.size() + kOverheadMax;
}

std::size_t write_client_head(const Head& response, const ClientRewrite& rewrite, char* out) {
  char* const start = out;
  out = put_status(out, response);
  out = copy_fields(out, response, [](const Field& field) {
    return field.id != FieldId::kContentLength && field.id != FieldId::kVia;
  });
  const bool is_http10 = rewrite.client_minor_version == 0;
  out = put_client_framing(out, response, is_http10);
  if (response.status / 100 != 1) {
    out = put_all(out, kVia, rewrite.hsts);
    if (!rewrite.date.empty()) out = put_date(out, rewrite.date);
  }
  if (response.is_upgrade) {
    out = put_upgrade(out, response);
  } else if (response.status / 100 != 1) {
    if (rewrite.persist == Persist::kClose)
      out = put(out, "connection: close\r\n");
    else if (is_http10)
      out = put(out, "connection: keep-alive\r\n");
  }
  out = put(out, "\r\n");
  return static_cast<std::size_t>(out - start);
}

std::string own_reply(const OwnReply& reply) {
  std::string out = fmt::format(
      "HTTP/1.1 {} {}\r\ncontent-type: {}\r\n"
      "content-length: {}\r\ncache-control: no-store\r\n{}{}{}",
      reply.status, reason_phrase(reply.status),
      reply.type.empty() ? "text/plain; charset=utf-8" : reply.type, reply.body.size(), kVia,
      date_line(reply.date), reply.fields);
  if (reply.retry_after_s > 0) out += fmt::format("retry-after: {}\r\n", reply.retry_after_s);
  if (reply.persist == Persist::kClose) out += "connection: close\r\n";
  out += "\r\n";
  if (reply.answers != Answers::kHead) out += reply.body;
  return out;
}

std::string own_redirect(int status, std::string_view location, std::string_view date,
                         Persist persist) {
  return fmt::format("HTTP/1.1 {} {}\r\nlocation: {}\r\ncontent-length: 0\r\n{}{}{}\r\n", status,
                     reason_phrase(status), location, kVia, date_line(date),
                     persist == Persist::kClose ? "connection: close\r\n" : "");
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 303:
      return "See Other";
    case 307:
      return "Temporary Redirect";
    case 308:
      return "Permanent Redirect";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 417:
      return "Expectation Failed";
    case 421:
      return "Misdirected Request";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "";
  }
}

}  // namespace banyan::http
