#pragma once
// Lsn: a position in one server's write-ahead log. Positions of different servers do not compare.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/strong.h"

namespace banyan::pg {

using Lsn = Strong<std::uint64_t, struct LsnTag>;

// "16/B374D848", as the server writes it.
Result<Lsn> parse_lsn(std::string_view text);
std::string format_lsn(Lsn lsn);

}  // namespace banyan::pg
