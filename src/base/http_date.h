#pragma once
// A moment as HTTP writes it (RFC 9110, section 5.6.7), in English whatever the locale.

#include <string>

#include "base/clock.h"

namespace banyan {

// "Fri, 20 Nov 2026 21:30:00 GMT"
std::string http_date(Wall time);

}  // namespace banyan
