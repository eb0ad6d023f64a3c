#pragma once
// Characters and short texts of HTTP/1 heads, ASCII only (RFC 9110 section 5.6).

#include <array>
#include <bit>
#include <string_view>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace banyan::http {

struct TokenTable {
  std::array<bool, 256> ok{};
  constexpr TokenTable() {
    for (int c = '0'; c <= '9'; ++c) ok[c] = true;
    for (int c = 'a'; c <= 'z'; ++c) ok[c] = ok[c - 32] = true;
    for (const char* c = "!#$%&'*+-.^_`|~"; *c != 0; ++c) ok[static_cast<unsigned char>(*c)] = true;
  }
};
inline constexpr TokenTable kToken;

inline bool is_token_char(char c) {
  return kToken.ok[static_cast<unsigned char>(c)];
}
inline bool is_blank(char c) {
  return c == ' ' || c == '\t';
}
inline char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
}
inline bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && byte != '\t') || byte == 0x7f;
}

// The first control byte other than a tab, or `end`.
inline const char* find_control(const char* p, const char* end) {
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

// `lower` must be in lower case.
bool equals_lower(std::string_view text, std::string_view lower);
bool same_ignoring_case(std::string_view a, std::string_view b);
bool is_token(std::string_view text);

// Takes the first of the comma separated elements off `list`, without the blanks around it.
std::string_view take_element(std::string_view& list);
// Is `lower` one of the elements of `list`?
bool list_names(std::string_view list, std::string_view lower);

}  // namespace banyan::http
