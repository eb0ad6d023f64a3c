#pragma once
// Learned paths: which addresses of an application are worth asking for again, from the gateway's
// access log. Pure.
//
// Only GET requests the old application answered; one example (the newest) of each shape, the most
// frequent shapes first (/documents/7 and /documents/8 have one shape). Left out: what a GET should
// not do but often does (log out, delete, confirm), and paths with a part that looks like a secret
// (a long word of mixed letters and digits: a reset link, a share token). The log has no queries.

#include <string>
#include <string_view>
#include <vector>

namespace banyan::control {

std::vector<std::string> learned_paths(std::string_view access_log, std::string_view old_address,
                                       std::size_t most);

}  // namespace banyan::control
