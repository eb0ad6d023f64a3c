#pragma once
// The BY- codes: what each means, why it comes up and what to do, for `banyan explain` and
// docs/errors.md. A code, once published, keeps its meaning.

#include <string>
#include <string_view>
#include <vector>

namespace banyan::spec {

struct CodeEntry {
  std::string_view code;    // "BY-0312"
  std::string_view title;   // "unknown key"
  std::string_view why;     // what is wrong, and why that is not accepted
  std::string_view remedy;  // what to do
};

const std::vector<CodeEntry>& codes();
// Null for a code that does not exist. "by-312" and "0312" find BY-0312 too.
const CodeEntry* explain(std::string_view code);

}  // namespace banyan::spec
