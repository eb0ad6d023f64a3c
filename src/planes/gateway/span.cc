#include "planes/gateway/span.h"

namespace banyan::gateway {
namespace {

using nlohmann::json;

json text_attribute(const std::string& key, const std::string& value) {
  return {{"key", key}, {"value", {{"stringValue", value}}}};
}

// 64-bit numbers are texts in the JSON form of protobuf.
std::string nanoseconds(Wall at) {
  return std::to_string(
      std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count());
}

json span_json(const Span& span) {
  constexpr int kError = 2;
  json attributes = json::array();
  for (const auto& [key, value] : span.texts) attributes.push_back(text_attribute(key, value));
  for (const auto& [key, value] : span.numbers)
    attributes.push_back({{"key", key}, {"value", {{"intValue", std::to_string(value)}}}});
  json out = {{"traceId", span.trace_id},
              {"spanId", span.id},
              {"name", span.name},
              {"kind", static_cast<int>(span.kind)},
              {"startTimeUnixNano", nanoseconds(span.began)},
              {"endTimeUnixNano", nanoseconds(span.ended)},
              {"attributes", std::move(attributes)},
              {"status", json::object()}};
  if (!span.parent_id.empty()) out["parentSpanId"] = span.parent_id;
  if (span.failed) out["status"]["code"] = kError;
  return out;
}

}  // namespace

json otlp_json(std::span<const Span> spans, const std::string& service_name) {
  json list = json::array();
  for (const Span& span : spans) list.push_back(span_json(span));
  const json resource = {{"attributes", {text_attribute("service.name", service_name)}}};
  const json scope = {{"scope", {{"name", "banyan.gateway"}}}, {"spans", std::move(list)}};
  return {{"resourceSpans",
           json::array({{{"resource", resource}, {"scopeSpans", json::array({scope})}}})}};
}

}  // namespace banyan::gateway
