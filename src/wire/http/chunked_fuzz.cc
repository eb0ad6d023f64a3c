// FUZZ SOURCES: wire/http/chunked.cc wire/http/text.cc
// The decoder reaches the same end however the bytes are cut, and what it passes on without
// extensions is the same body.

#include <string>

#include "base/check.h"
#include "wire/http/chunked.h"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  using banyan::http::ChunkedDecoder;
  ChunkedDecoder whole;
  std::string payload;
  const std::size_t end = whole.decode(bytes, payload);
  CHECK(payload.size() <= bytes.size());

  ChunkedDecoder piecewise;
  std::string again;
  std::size_t at = 0;
  while (at < bytes.size() && piecewise.state() == ChunkedDecoder::State::kMore) {
    at += piecewise.decode(bytes.substr(at, 1), again);
  }
  CHECK(piecewise.state() == whole.state());
  CHECK(whole.malformed() || (at == end && again == payload));

  ChunkedDecoder stripping;
  std::optional<std::string> stripped;
  CHECK(stripping.feed(bytes, stripped) == end);
  CHECK(whole.malformed() || stripping.has_extensions() == stripped.has_value());
  if (!stripped || !whole.done()) return 0;
  ChunkedDecoder clean;
  std::string same;
  CHECK(clean.decode(*stripped, same) == stripped->size());
  CHECK(clean.done() && !clean.has_extensions() && same == payload);
  return 0;
}
