#pragma once
// Fields of HTTP/2 as the lines of HTTP/1, and back.

#include <string>
#include <string_view>
#include <vector>

#include "wire/h2/connection.h"

namespace banyan::gateway {

// Appends "name: value\r\n" for each.
void append_lines(std::string& out, std::span<const h2::Field> fields);
// Of such lines; the fields point into them.
std::vector<h2::Field> fields_of_lines(std::string_view lines);

}  // namespace banyan::gateway
