#pragma once
// Imported: what could be read out of another proxy's configuration, as parts of a spec, and every
// line that could not be carried over, with what to do about it. Values.

#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "spec/spec.h"

namespace banyan::control {

struct LeftOver {
  std::string where;    // "nginx.conf:41"
  std::string what;     // the directive as it stands there
  std::string do_this;  // never empty
};

struct Imported {
  std::vector<std::string> listen;
  std::map<std::string, spec::Service> services;
  std::vector<spec::Route> routes;
  std::vector<LeftOver> left;

  // What Banyan would refuse is left over, with the reason.
  void add_service(spec::Service service, const std::string& where);
  // Likewise. Its service is there already. Routes with the same match as an earlier one are left
  // over: the first one counted.
  void add_route(spec::Route route, const std::string& where);
  void leave(std::string where, std::string what, std::string do_this) {
    left.push_back({std::move(where), std::move(what), std::move(do_this)});
  }
};

// By the file's name and first words: an nginx.conf or a haproxy.cfg. Reads the files it includes.
Result<Imported> import_file(const std::string& path);
// banyan.yaml, which load_spec accepts, with the left-over lines as comments.
std::string imported_yaml(const Imported& imported, const std::string& name,
                          const std::string& origin);

// A name that can stand as a service's key: lower case letters, digits and dashes.
std::string service_name(std::string_view text);
// "10.0.0.1" -> "10.0.0.1:80"; nothing when it is no address Banyan can connect to.
std::optional<std::string> address_with_port(std::string_view text, int port);

}  // namespace banyan::control
