// FUZZ SOURCES: wire/s3/aws_chunked.cc wire/s3/signer.cc wire/s3/encoding.cc base/percent.cc
// FUZZ LINK: crypto
// However the bytes are cut, the same content comes out, and never more than went in.

#include <cstdlib>
#include <string>

#include "base/check.h"
#include "wire/s3/aws_chunked.h"

namespace {

using namespace banyan;  // NOLINT(google-build-using-namespace)

struct Read {
  bool fine = true;
  bool finished = false;
  std::string content;
  bool operator==(const Read&) const = default;
};

Read read(std::string_view bytes, std::size_t piece) {
  s3::AwsChunkedDecoder decoder(std::nullopt);
  Read out;
  while (!bytes.empty() && out.fine) {
    const std::string_view part = bytes.substr(0, piece);
    bytes.remove_prefix(part.size());
    out.fine = decoder
                   .feed(part,
                         [&](std::string_view content) -> Result<void> {
                           out.content += content;
                           return {};
                         })
                   .has_value();
  }
  out.finished = decoder.finished();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Read whole = read(bytes, bytes.size());
  CHECK(whole.content.size() <= size);
  CHECK(read(bytes, 1) == whole);
  return 0;
}
