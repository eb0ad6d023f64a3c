#pragma once
// Settings that a location of nginx inherits from its server and http blocks.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/import_nginx.h"

namespace banyan::control {

struct NginxScope {
  std::vector<spec::NameValue> request_headers;
  std::vector<spec::NameValue> response_headers;
  std::vector<std::string> hidden;
  std::optional<std::string> host;  // of proxy_set_header Host
  bool sets_headers = false;
  bool adds_headers = false;
  std::int64_t body_bytes = 1 << 20;  // nginx's own default
  std::optional<spec::Millis> timeout;
};

// Takes a directive into the scope; what Banyan has no setting for is left over in `out`.
void take_setting(const NginxDirective& directive, NginxScope& scope, Imported& out);

}  // namespace banyan::control
