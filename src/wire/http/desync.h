#pragma once
// How far a request is from one that every server reads alike, after the classes of AWS's HTTP
// desync guardian. The parser tolerates an oddity only where one reading of it is certain and the
// request can be written anew in that reading; whatever it refuses is severe.
// docs/desync.md has every shape with its class and its source.

#include <cstdint>
#include <string_view>

namespace banyan::http {

enum class Desync : std::uint8_t {
  kCompliant,
  kAcceptable,  // unusual, but read alike by all
  kAmbiguous,   // another server might find another end of it
  kSevere,      // refused
};
inline constexpr std::size_t kDesyncClasses = 4;
std::string_view name_of(Desync level);

// What the parser tolerated in a request, as bits of Head::oddities; the gravest first.
enum Oddity : std::uint16_t {
  kCodingBesideLength = 1U << 0,
  kRepeatedLength = 1U << 1,
  kUnderscoreFraming = 1U << 2,
  kNominatedFraming = 1U << 3,
  kBodyWithoutMeaning = 1U << 4,
  kZeroLengthWithoutMeaning = 1U << 5,
  kPaddedLength = 1U << 6,
  kSpoofedField = 1U << 7,
  kNonAscii = 1U << 8,
  kEmptyLineFirst = 1U << 9,
  kChunkExtension = 1U << 10,  // seen later than the others, in the body
};

struct Verdict {
  Desync level = Desync::kCompliant;
  const char* shape = "";  // fixed text: the gravest oddity
};
Verdict judge(std::uint16_t oddities);

}  // namespace banyan::http
