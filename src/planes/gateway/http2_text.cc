#include "planes/gateway/http2_text.h"

#include <algorithm>

#include "wire/http/chunked.h"

namespace banyan::gateway {
namespace {

// A handshake of RFC 6455 needs a key; RFC 8441 has none, and nobody checks the answer to this one.
constexpr std::string_view kUpgrade =
    "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: YmFueWFuLWh0dHAyLXdzIQ==\r\n";

bool same_host(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return (x | 0x20) == (y | 0x20); });
}

// The fields behind the pseudo-fields, crumbs of cookies joined; false when two hosts are named.
bool append_fields(std::string& out, const h2::Head& head, const Pseudo& pseudo) {
  std::string cookies;
  for (const h2::Field& field : head.fields) {
    if (field.name.starts_with(':')) continue;
    if (field.name == "host" && !pseudo.authority.empty()) {
      if (!same_host(field.value, pseudo.authority)) return false;
    } else if (field.name == "cookie") {
      cookies.append(cookies.empty() ? "" : "; ").append(field.value);
    } else if (field.name != "sec-websocket-key" || pseudo.protocol.empty()) {
      out.append(field.name).append(": ").append(field.value).append("\r\n");
    }
  }
  if (!cookies.empty()) out.append("cookie: ").append(cookies).append("\r\n");
  return true;
}

std::size_t text_bytes_max(const h2::Head& head) {
  std::size_t bytes = 64 + kUpgrade.size();
  for (const h2::Field& field : head.fields) bytes += field.name.size() + field.value.size() + 4;
  return bytes;
}

bool names_length(const h2::Head& head) {
  return std::ranges::any_of(head.fields,
                             [](const h2::Field& field) { return field.name == "content-length"; });
}

}  // namespace

Pseudo pseudo_of(std::span<const h2::Field> fields) {
  Pseudo out;
  for (const h2::Field& field : fields) {
    if (!field.name.starts_with(':')) break;
    if (field.name == ":method") out.method = field.value;
    if (field.name == ":path") out.path = field.value;
    if (field.name == ":authority") out.authority = field.value;
    if (field.name == ":protocol") out.protocol = field.value;
  }
  return out;
}

bool is_extended_connect(const Pseudo& pseudo) {
  return pseudo.method == "CONNECT" && pseudo.protocol == "websocket";
}

std::string http1_text(const h2::Head& head) {
  const Pseudo pseudo = pseudo_of(head.fields);
  const bool tunnels = is_extended_connect(pseudo);
  if (pseudo.path.empty()) return {};
  // The tunnel's bytes would be taken for the body, and no body for the tunnel.
  if (tunnels && names_length(head)) return {};
  std::string out;
  out.reserve(text_bytes_max(head));
  out.append(tunnels ? "GET" : pseudo.method).append(" ").append(pseudo.path);
  out.append(" HTTP/1.1\r\n");
  if (!pseudo.authority.empty()) out.append("host: ").append(pseudo.authority).append("\r\n");
  if (!append_fields(out, head, pseudo)) return {};
  if (tunnels) {
    out.append(kUpgrade);
  } else if (head.ends == h2::Ends::kNo && !names_length(head)) {
    out.append("transfer-encoding: chunked\r\n");  // of a length not known
  }
  return out.append("\r\n");
}

void append_lines(std::string& out, std::span<const h2::Field> fields) {
  for (const h2::Field& field : fields)
    out.append(field.name).append(": ").append(field.value).append("\r\n");
}

bool append_trailers(std::string& out, std::span<const h2::Field> fields) {
  const auto is_none = [](const h2::Field& field) {
    return http::is_forbidden_trailer(field.name);
  };
  if (std::ranges::any_of(fields, is_none)) return false;
  append_lines(out, fields);
  return true;
}

std::vector<h2::Field> fields_of_lines(std::string_view lines) {
  std::vector<h2::Field> out;
  while (!lines.empty()) {
    const std::string_view line = lines.substr(0, lines.find("\r\n"));
    lines.remove_prefix(std::min(lines.size(), line.size() + 2));
    const std::size_t colon = line.find(": ");
    if (colon != std::string_view::npos && colon > 0)
      out.push_back({line.substr(0, colon), line.substr(colon + 2)});
  }
  return out;
}

}  // namespace banyan::gateway
