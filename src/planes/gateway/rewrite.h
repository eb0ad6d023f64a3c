#pragma once
// What a route's rules change on the way: the target, the Host, headers; and on the way back
// Location, Refresh and Set-Cookie, so that a client never sees a name only the backend knows.
// Pure: text in, text out. Only requests of routes with such rules come here.

#include <string>
#include <string_view>

#include "planes/gateway/route_conditions.h"
#include "planes/gateway/snapshot.h"

namespace banyan::gateway {

// True when a head of this route's requests, or of their responses, is changed at all.
bool edits_request(const RouteSpec& route);
bool edits_response(const RouteSpec& route);

// "/static/*" -> "/static", "/*" and everything without a star -> "".
std::string_view template_prefix(std::string_view path_template);

// "/app/x" with from "/app" and to "/old" -> "/old/x"; whatever is not below `from` stays. The
// root is "" or "/".
std::string moved_path(std::string_view path, std::string_view from, std::string_view to);

// The target with the route's prefix replaced. The rest stays as the client wrote it ("%2F"
// included), except where it has dot segments: then the normalised path is sent, for a prefix must
// not be climbed out of. `path` is the normalised path.
std::string rewritten_target(std::string_view target, std::string_view path,
                             std::string_view route_prefix, std::string_view new_prefix);

// `head` is a complete request head for the next hop. `path`: as above.
std::string edited_request_head(std::string_view head, const RouteSpec& route,
                                std::string_view path);

struct ResponseScene {
  std::string_view scheme = "http";  // of the client's connection
  std::string_view authority;        // what the client called this host, with its port
  std::string_view upstream;         // the endpoint's address
};
// `head` is a complete response head.
std::string edited_response_head(std::string_view head, const RouteSpec& route,
                                 const ResponseScene& scene);

// A redirect's location: ${scheme} ${host} ${path} ${query} ("?a=1" or nothing) ${uri} and the
// parameters of the path (${*}: the rest). Never a protocol-relative address by accident.
std::string expanded_location(std::string_view location, const RouteSpec& route,
                              const RequestFacts& facts, std::string_view scheme,
                              std::string_view authority, std::string_view target);

}  // namespace banyan::gateway
