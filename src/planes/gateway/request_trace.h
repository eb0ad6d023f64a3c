#pragma once
// RequestTrace: the spans of one request: the gateway's own, and below it one for each attempt,
// whose id the backend sees as its parent. Exists only for requests that are sampled.
// Attributes hold neither query, headers nor bodies.

#include <string>
#include <string_view>

#include "planes/gateway/span.h"
#include "planes/gateway/trace_exporter.h"
#include "wire/http/head_writer.h"

namespace banyan::gateway {

class RequestTrace {
 public:
  struct Request {
    std::string_view method;
    std::string_view scheme;
    std::string_view host;
    std::string_view path;  // without query
  };
  struct End {
    int status = 0;                 // 0: no answer
    std::string_view route = {};    // path template; empty: none
    std::string_view problem = {};  // why the answer is the gateway's own
  };

  RequestTrace(const http::TraceContext& trace, std::string_view parent_id, const Clock& clock);

  // Gives the attempt an id and puts it into the head's traceparent.
  void begin_attempt(std::string& head, http::IdSource& ids);
  void end_attempt(int status, std::string_view address);
  void finish(const Request& request, const End& end, TraceExporter& to);

 private:
  const Clock& clock_;
  Span server_;
  std::vector<Span> attempts_;
};

// Whether the request's trace is recorded: as its caller says, else by chance. Sets the flag.
bool decide_sampling(const http::Head& head, int sample_percent, http::TraceContext& trace);
// Of a valid traceparent; else empty.
std::string_view parent_span(const http::Head& head, const http::TraceContext& trace);

}  // namespace banyan::gateway
