#pragma once
// Percent-decoding (RFC 3986, section 2.1).

#include <string>
#include <string_view>

namespace banyan {

// A '%' that two hexadecimal digits do not follow stays as it is; '+' is no space.
std::string percent_decoded(std::string_view text);

}  // namespace banyan
