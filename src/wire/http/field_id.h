#pragma once
// Which field a name stands for, and names that CGI and WSGI cannot tell from another one.

#include <string_view>

#include "wire/http/http1_parser.h"

namespace banyan::http {

FieldId classify(std::string_view name);
// As equals_lower, but '_' counts as '-': how CGI and WSGI see a name.
bool equals_as_cgi(std::string_view name, std::string_view lower_name);
// Belongs to this hop, or must not come from a client, whatever Connection says.
bool is_dropped_always(FieldId id);

}  // namespace banyan::http
