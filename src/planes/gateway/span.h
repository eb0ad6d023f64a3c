#pragma once
// Span: one thing that took time in a trace, as it is exported (OpenTelemetry, trace data model).

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace banyan::gateway {

struct Span {
  enum class Kind : std::uint8_t { kServer = 2, kClient = 3 };  // OTLP's numbers
  using Text = std::pair<std::string, std::string>;
  using Number = std::pair<std::string, std::int64_t>;

  std::string trace_id;        // 32 lower-case hex digits
  std::string id;              // 16
  std::string parent_id = {};  // 16, or empty: the trace begins here
  std::string name = {};
  Kind kind = Kind::kServer;
  Wall began{};
  Wall ended{};
  bool failed = false;
  std::vector<Text> texts = {};
  std::vector<Number> numbers = {};
};

// An ExportTraceServiceRequest in the JSON encoding of OTLP 1.0.
nlohmann::json otlp_json(std::span<const Span> spans, const std::string& service_name);

}  // namespace banyan::gateway
