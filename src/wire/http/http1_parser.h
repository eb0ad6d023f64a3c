#pragma once
// HTTP/1.x heads, parsed in place and strictly (RFC 9112): bytes in, a Head of views out.
//
// A head with no certain reading is refused, never repaired: different or odd lengths, codings
// other than chunked, folded lines, bare CR or LF, space before a colon, NUL, names that are not
// tokens. What has one but is read differently by some servers is an oddity of the head
// (desync.h), for the user to judge. Never touches a socket.
//
// All views point into the bytes given to the parser. Who moves those bytes calls Head::rebase;
// who overwrites them first writes what is still needed with head_writer.h.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace banyan::http {

// How the end of the body is found.
enum class Framing : std::uint8_t { kNone, kLength, kChunked, kUntilClose };

// Fields that the gateway itself understands; all others are kOther.
enum class FieldId : std::uint8_t {
  kOther,
  kHost,
  kConnection,
  kContentLength,
  kTransferEncoding,
  kHopByHop,  // keep-alive, proxy-connection, te, proxy-authorization, ...: never forwarded
  kUpgrade,
  kExpect,
  kForwardedFor,
  kForwardedProto,
  kForwardedHost,
  kForwarded,
  kTraceparent,
  kRequestId,
  kVia,
  kMaxForwards,
  kContentType,
  kDate,
  kSpoofed,  // x_forwarded_for and the like, which WSGI and CGI confuse with the real ones
};

struct Field {
  std::string_view name;
  std::string_view value;  // without surrounding blanks
  FieldId id;
  bool hop_by_hop;  // not forwarded, whatever the id
};

inline constexpr std::size_t kFieldsMax = 100;

struct HeadLimits {
  std::size_t head_bytes_max = 60 * 1024;
  std::size_t fields_max = kFieldsMax;  // at most kFieldsMax
};

// A request or response head. About 4 KB; keep one per worker and parse into it again.
struct Head {
  // Request.
  std::string_view method;
  std::string_view target;     // as received
  std::string_view path;       // what is forwarded: origin-form with its query, or "*"
  std::string_view authority;  // from the absolute-form target, else the Host field; may be empty

  // Response.
  int status = 0;
  std::string_view reason;

  // Both.
  int minor_version = 1;
  std::string_view raw;  // the head's bytes, final empty line included
  Framing framing = Framing::kNone;
  std::uint64_t content_length = 0;  // of framing kLength
  bool keep_alive = true;            // what the peer is willing to do
  bool expects_continue = false;
  bool is_upgrade = false;     // Connection names upgrade and Upgrade a protocol other than HTTP
  std::uint16_t oddities = 0;  // of a request, bits of Oddity

  std::span<const Field> fields() const { return {fields_.data(), field_count_}; }
  // The first field's value, or nullptr. `name` in lower case.
  const Field* find(std::string_view name) const;
  const Field* find(FieldId id) const;
  // The bytes have moved: every view that pointed to `from` points to `to` from now on.
  void rebase(const char* from, const char* to);
  void clear();

  std::array<Field, kFieldsMax> fields_;  // valid up to field_count_
  std::size_t field_count_ = 0;
};

enum class Outcome : std::uint8_t { kComplete, kIncomplete, kRefused };

struct Parsed {
  Outcome outcome = Outcome::kIncomplete;
  std::size_t size = 0;     // kComplete: bytes consumed from the front
  int status = 400;         // kRefused: what to answer (400, 405, 417, 431, 501, 505)
  const char* reason = "";  // kRefused: fixed text for the log, e.g. "bare lf"
};

// A client's request. One empty line before it is forgiven.
Parsed parse_request(std::string_view bytes, Head& head, const HeadLimits& limits = {});

// An upstream's response. Whether it answers a HEAD request decides its framing.
enum class Answers : std::uint8_t { kHead, kOther };
Parsed parse_response(std::string_view bytes, Answers answers, Head& head,
                      const HeadLimits& limits = {});

// Worth parsing again? True when the end of a head is in bytes[seen-3..), or the limit is passed:
// so that a head arriving byte by byte is not parsed once per byte.
bool head_may_be_complete(std::string_view bytes, std::size_t seen, const HeadLimits& limits = {});

}  // namespace banyan::http
