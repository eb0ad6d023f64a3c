#pragma once
// ChunkedDecoder: follows a chunked body as it streams past and says where it ends.
//
// The bytes themselves are forwarded, but for extensions (RFC 9112 section 7.1.1), which servers
// read too differently: what it lets pass must mean the same to any reader. Sizes are plain hex of
// at most 15 digits, extensions are short and without control bytes, every line ends in CRLF,
// trailers are well-formed and name no framing field.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace banyan::http {

// A reader that merges trailers into the head could take it for framing or routing (RFC 9110,
// section 6.5.1), so it is passed on by no protocol.
bool is_forbidden_trailer(std::string_view name);

class ChunkedDecoder {
 public:
  static constexpr std::size_t kExtensionBytesMax = 256;  // per chunk
  static constexpr std::size_t kTrailerBytesMax = 8 * 1024;

  enum class State : std::uint8_t { kMore, kDone, kMalformed };

  // Consumes from the front of `bytes` up to the end of the body; returns how many. Bytes behind
  // the end belong to the next message. After kMalformed nothing is consumed. If there are
  // extensions among them, `stripped` becomes what was consumed without these.
  std::size_t feed(std::string_view bytes, std::optional<std::string>& stripped) {
    return advance(bytes, {.payload = nullptr, .stripped = &stripped});
  }
  // The same, and appends the payload (without chunk heads and trailers) to `payload`.
  std::size_t decode(std::string_view bytes, std::string& payload) {
    return advance(bytes, {.payload = &payload, .stripped = nullptr});
  }
  // From now on a body with one is malformed.
  void refuse_extensions() { refuses_extensions_ = true; }
  bool has_extensions() const { return has_extensions_; }

  // After `decode`: the trailers, names in lower case, as lines that end in CRLF.
  const std::string& trailers() const { return trailers_; }

  State state() const { return state_; }
  bool done() const { return state_ == State::kDone; }
  bool malformed() const { return state_ == State::kMalformed; }
  // Nothing of the next chunk has come.
  bool is_between_chunks() const { return step_ == Step::kSize && digits_ == 0; }

 private:
  enum class Step : std::uint8_t {
    kSize,
    kExtension,
    kSizeLf,
    kData,
    kDataCr,
    kDataLf,
    kTrailerStart,
    kTrailerName,
    kTrailerValue,
    kTrailerLf,
    kEndLf,
  };

  struct Output {
    std::string* payload;
    std::optional<std::string>* stripped;
  };
  std::size_t advance(std::string_view bytes, Output out);
  std::size_t take_data(std::string_view rest, std::string* payload);
  bool take_byte(char c);
  bool take_size(char c);
  bool take_extension(char c);
  bool take_trailer(char c);
  void keep_trailer(char c);
  bool finish_trailer_name();

  Step step_ = Step::kSize;
  State state_ = State::kMore;
  bool refuses_extensions_ = false;
  bool has_extensions_ = false;
  std::uint8_t digits_ = 0;
  std::uint16_t extension_bytes_ = 0;
  std::uint16_t trailer_bytes_ = 0;
  std::uint64_t left_ = 0;
  std::string trailer_name_;
  bool keeps_trailers_ = false;
  std::string trailers_;
};

}  // namespace banyan::http
