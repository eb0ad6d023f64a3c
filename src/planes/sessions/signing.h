#pragma once
// The text of Django's session_data: `[.]base64url(zlib?(JSON)):timestamp:signature` since 3.1, and
// base64(hash:JSON) before. Reading needs no SECRET_KEY; writing does.

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/error.h"
#include "planes/sessions/value.h"

namespace banyan::sessions {

// Checks the signature when `secret_key` is given; kCorruption when it does not match, since Django
// would see an empty session. Sessions of PickleSerializer are read too.
Result<Value> unsign_session(std::string_view session_data, std::string_view secret_key = {});
Result<std::string> sign_session(const Value& session, std::string_view secret_key, Wall now);

// Inflates a zlib stream; kCorruption beyond a fixed limit of output.
Result<std::string> inflate_bytes(std::string_view compressed);

}  // namespace banyan::sessions
