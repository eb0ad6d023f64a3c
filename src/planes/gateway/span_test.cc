#include "planes/gateway/span.h"

#include <gtest/gtest.h>

namespace banyan::gateway {
namespace {

TEST(Span, IsWrittenAsOtlpWantsIt) {
  const Span span{.trace_id = std::string(32, 'a'),
                  .id = std::string(16, 'b'),
                  .parent_id = std::string(16, 'c'),
                  .name = "GET /x",
                  .kind = Span::Kind::kClient,
                  .began = Wall(1s),
                  .ended = Wall(2s),
                  .failed = true,
                  .texts = {{"url.path", "/x"}},
                  .numbers = {{"http.response.status_code", 502}}};
  const nlohmann::json out = otlp_json({&span, 1}, "shop");
  const auto& of = out["resourceSpans"][0];
  EXPECT_EQ(of["resource"]["attributes"][0]["value"]["stringValue"], "shop");
  const auto& written = of["scopeSpans"][0]["spans"][0];
  EXPECT_EQ(written["traceId"], span.trace_id);
  EXPECT_EQ(written["parentSpanId"], span.parent_id);
  EXPECT_EQ(written["kind"], 3);
  EXPECT_EQ(written["startTimeUnixNano"], "1000000000");
  EXPECT_EQ(written["attributes"][1]["value"]["intValue"], "502");
  EXPECT_EQ(written["status"]["code"], 2);
}

TEST(Span, ATraceThatBeginsHereHasNoParent) {
  const Span span{.trace_id = std::string(32, 'a'), .id = std::string(16, 'b')};
  const auto out = otlp_json({&span, 1}, "shop");
  const auto& written = out["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
  EXPECT_FALSE(written.contains("parentSpanId"));
  EXPECT_TRUE(written["status"].empty());
}

}  // namespace
}  // namespace banyan::gateway
