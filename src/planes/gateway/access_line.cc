#include "planes/gateway/access_line.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <chrono>

namespace banyan::gateway {
namespace {

constexpr std::size_t kTargetBytesMax = 2048;

bool is_plain(char c) {
  return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

// Bytes outside printable ASCII are escaped one by one, so a line is always valid JSON.
void put_escaped(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  while (true) {
    const auto special = std::ranges::find_if_not(text, is_plain);
    out.append(text.begin(), special);
    if (special == text.end()) return;
    const auto byte = static_cast<unsigned char>(*special);
    out += "\\u00";
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
    text = {special + 1, text.end()};
  }
}

std::uint64_t to_us(Duration duration) {
  return duration.count() > 0 ? static_cast<std::uint64_t>(duration.count()) / 1000 : 0;
}

// As they stand in a line.
constexpr std::array<std::string_view, 19> kKeys = {
    ",\"client\":",        ",\"method\":",    ",\"host\":",   ",\"path\":",
    ",\"query\":",         ",\"status\":",    ",\"route\":",  ",\"upstream\":",
    ",\"bytes_in\":",      ",\"bytes_out\":", ",\"us\":",     ",\"held_us\":",
    ",\"first_byte_us\":", ",\"retries\":",   ",\"reason\":", ",\"desync\":",
    ",\"desync_shape\":",  ",\"id\":",        ",\"trace\":"};

constexpr std::string_view name_of(std::string_view key) {
  return key.substr(2, key.size() - 4);
}

bool looks_secret(std::string_view name) {
  constexpr std::array<std::string_view, 12> kMarks = {"token", "secret", "passw", "pwd",
                                                       "key",   "auth",   "code",  "session",
                                                       "sig",   "jwt",    "otp",   "credential"};
  std::string lower(name);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  return std::ranges::any_of(kMarks, [&](std::string_view mark) { return lower.contains(mark); });
}

}  // namespace

void append_redacted_query(std::string& out, std::string_view query) {
  for (bool first = true; !query.empty(); first = false) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    const std::size_t equals = pair.find('=');
    if (!first) out += '&';
    // A name in percent signs may hide what it is.
    const std::string_view name = pair.substr(0, equals);
    const bool secret = name.contains('%') || looks_secret(name);
    put_escaped(out,
                secret && equals != std::string_view::npos ? pair.substr(0, equals + 1) : pair);
    if (secret) out += "***";
  }
}

class AccessLine::Writer {
 public:
  Writer(std::string& out, std::uint32_t fields) : out_(out), fields_(fields) {}

  void text(Field field, std::string_view value) {
    if (value.empty() || !wants(field)) return;
    begin(field);
    out_ += '"';
    put_escaped(out_, value);
    out_ += '"';
  }
  void query(std::string_view target) {
    const std::size_t mark = target.find('?');
    if (mark == std::string_view::npos || !wants(Field::kQuery)) return;
    begin(Field::kQuery);
    out_ += '"';
    append_redacted_query(out_, target.substr(mark + 1, kTargetBytesMax));
    out_ += '"';
  }
  void number(Field field, std::uint64_t value) {
    if (!wants(field)) return;
    begin(field);
    const fmt::format_int digits(value);
    out_.append(digits.data(), digits.size());
  }
  void number_if(Field field, std::uint64_t value) {
    if (value != 0) number(field, value);
  }

 private:
  bool wants(Field field) const { return (fields_ >> static_cast<unsigned>(field) & 1U) != 0; }
  void begin(Field field) { out_ += kKeys[static_cast<std::size_t>(field)]; }

  std::string& out_;
  std::uint32_t fields_;
};

Result<std::uint32_t> AccessLine::parse_fields(const std::vector<std::string>& names) {
  if (names.empty()) return kAllButQuery;
  std::uint32_t fields = 0;
  for (const std::string& name : names) {
    const auto found = std::ranges::find(kKeys, name, name_of);
    if (found == kKeys.end())
      return failure(Code::kInvalidArgument,
                     fmt::format("'{}' is no field of the access log", name));
    fields |= 1U << static_cast<unsigned>(found - kKeys.begin());
  }
  return fields;
}

void AccessLine::stamp(std::string& out) {
  const std::int64_t ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(clock_.wall().time_since_epoch())
          .count();
  if (ms / 1000 != stamped_second_) {
    stamped_second_ = ms / 1000;
    second_text_ = rfc3339(clock_.wall()).substr(0, 20);
  }
  out += second_text_;
  const auto rest = static_cast<int>(ms % 1000);
  for (int divisor : {100, 10, 1}) out += static_cast<char>('0' + rest / divisor % 10);
  out += 'Z';
}

void AccessLine::append(std::string& out, const AccessEntry& entry) {
  const std::string_view path = entry.target.substr(0, entry.target.find('?'));
  out += "{\"ts\":\"";
  stamp(out);
  out += '"';
  Writer line(out, fields_);
  line.text(Field::kClient, entry.client);
  line.text(Field::kMethod, entry.method);
  line.text(Field::kHost, entry.host);
  line.text(Field::kPath, path.substr(0, kTargetBytesMax));
  line.query(entry.target);
  line.number(Field::kStatus, static_cast<std::uint64_t>(entry.status));
  line.text(Field::kRoute, entry.route);
  line.text(Field::kUpstream, entry.upstream);
  line.number(Field::kBytesIn, entry.bytes_in);
  line.number(Field::kBytesOut, entry.bytes_out);
  line.number(Field::kUs, to_us(entry.took));
  line.number_if(Field::kHeldUs, to_us(entry.held));
  line.number_if(Field::kFirstByteUs, to_us(entry.first_byte));
  line.number_if(Field::kRetries, static_cast<std::uint64_t>(entry.retries));
  line.text(Field::kReason, entry.reason);
  if (entry.desync.level != http::Desync::kCompliant) {
    line.text(Field::kDesync, http::name_of(entry.desync.level));
    line.text(Field::kDesyncShape, entry.desync.shape);
  }
  line.text(Field::kId, entry.id);
  line.text(Field::kTrace, entry.trace);
  out += "}\n";
}

}  // namespace banyan::gateway
