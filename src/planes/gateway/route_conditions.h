#pragma once
// RouteConditions: what a route asks for besides host, method and path: headers, query parameters,
// the client's address. A value, compiled once; pure.

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "spec/cidr.h"
#include "spec/traffic.h"
#include "wire/http/http1_parser.h"

namespace banyan::gateway {

// A request as routes see it. Views; the caller's. Fields, query and address are looked at only
// by routes that ask for them.
struct RequestFacts {
  std::string_view method;
  std::string_view host;  // without port, any case
  std::string_view path;  // normalised (wire/http/path.h)
  std::string_view query = {};
  std::string_view client_ip = {};
  std::span<const http::Field> fields = {};
};

// "a=1&b=%41" and "b" -> "A"; false when there is no such parameter. `value` may be null.
bool find_parameter(std::string_view query, std::string_view name, std::string* value);

class RouteConditions {
 public:
  RouteConditions() = default;
  explicit RouteConditions(const spec::RouteWhen& when);

  // How many must hold: a route with more is the more specific one.
  std::size_t size() const { return size_; }
  bool hold(const RequestFacts& facts) const { return size_ == 0 || unmet(facts).empty(); }
  // What does not hold, for people: "header x-beta is not 1"; empty when all do.
  std::string unmet(const RequestFacts& facts) const;

 private:
  std::string unmet_header(const RequestFacts& facts) const;
  std::string unmet_query(const RequestFacts& facts) const;

  std::size_t size_ = 0;
  spec::RouteWhen when_;
  std::vector<spec::Cidr> sources_;
};

}  // namespace banyan::gateway
