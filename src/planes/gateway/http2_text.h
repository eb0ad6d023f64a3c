#pragma once
// Fields of HTTP/2 as the lines of HTTP/1, and back.

#include <string>
#include <string_view>
#include <vector>

#include "wire/h2/connection.h"

namespace banyan::gateway {

// Of a request's head; a field that is not there is empty.
struct Pseudo {
  std::string_view method;
  std::string_view path;
  std::string_view authority;
  std::string_view protocol;
};
Pseudo pseudo_of(std::span<const h2::Field> fields);
// RFC 8441: a WebSocket.
bool is_extended_connect(const Pseudo& pseudo);
// The head of a request; empty: it is not one that can be forwarded. Its framing is that of the
// stream, and what HTTP/1 would refuse is its parser's to refuse.
std::string http1_text(const h2::Head& head);

// Appends "name: value\r\n" for each.
void append_lines(std::string& out, std::span<const h2::Field> fields);
// The same of trailers; false, and nothing, when one of them could be taken for framing.
bool append_trailers(std::string& out, std::span<const h2::Field> fields);
// Of such lines; the fields point into them.
std::vector<h2::Field> fields_of_lines(std::string_view lines);

}  // namespace banyan::gateway
