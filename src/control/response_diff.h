#pragma once
// Response diff: does an answer through the gateway differ from the application's own answers to
// the same request? Pure.
//
// The application is asked twice, before and after; whatever differs between its own two answers
// (a CSRF token, a clock, a nonce) is its noise and is not held against the third. Never compared:
// Date, hop-by-hop fields, Content-Length (the body is), Via (the gateway says it is there), and
// the values of cookies (their names and attributes are).

#include <string>
#include <vector>

#include "control/http_probe.h"

namespace banyan::control {

struct ResponseDiff {
  // kMoving: the two answers of the application cannot be laid side by side; nothing is proven.
  enum class Verdict : std::uint8_t { kEqual, kDifferent, kMoving };
  Verdict verdict = Verdict::kEqual;
  std::vector<std::string> what;  // kDifferent: one line each; kMoving: why
};

ResponseDiff compare_answers(const HttpAnswer& before, const HttpAnswer& after,
                             const HttpAnswer& through_gateway);

}  // namespace banyan::control
