// FUZZ SOURCES: wire/h2/connection.cc wire/h2/window_tuner.cc
// FUZZ LINK: nghttp2
// A server that answers whatever it understands survives any bytes, and forgets every stream.

#include <string>
#include <vector>

#include "base/check.h"
#include "wire/h2/connection.h"

namespace {

using banyan::h2::Connection;
using banyan::h2::Ends;
using banyan::h2::ErrorCode;
using banyan::h2::Field;
using banyan::h2::Head;
using banyan::h2::StreamId;

constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

struct Answerer final : banyan::h2::Handler {
  void on_head(StreamId stream, const Head& head) override {
    std::size_t bytes = 0;
    for (const Field& field : head.fields) bytes += field.name.size() + field.value.size();
    CHECK(bytes <= 60 * 1024);
    heads.push_back(stream);
  }
  void on_trailers(StreamId, std::span<const Field>) override {}
  void on_data(StreamId stream, std::string_view bytes) override {
    data.emplace_back(stream, bytes.size());
  }
  void on_end(StreamId) override {}
  void on_writable(StreamId) override {}
  void on_closed(StreamId, ErrorCode) override { ++closed; }
  void on_goaway(StreamId) override {}

  std::vector<StreamId> heads;
  std::vector<std::pair<StreamId, std::size_t>> data;
  std::size_t closed = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* bytes, std::size_t size) {
  Answerer answerer;
  banyan::h2::WindowBudget budget(1 << 20);
  Connection connection({.budget = &budget}, answerer);
  const std::string input =
      std::string(kPreface) + std::string(reinterpret_cast<const char*>(bytes), size);
  std::string out;
  std::size_t answered = 0;
  for (std::size_t at = 0; at < input.size(); at += 300) {
    const bool on = connection.feed(std::string_view(input).substr(at, 300), banyan::Mono{});
    for (; answered < answerer.heads.size(); ++answered) {
      const Field status{":status", answered % 3 == 0 ? "404" : "200"};
      connection.respond(answerer.heads[answered], {&status, 1}, Ends::kNo);
      connection.send(answerer.heads[answered], "hello", Ends::kYes);
    }
    for (const auto& [stream, count] : answerer.data) connection.consume(stream, count);
    answerer.data.clear();
    connection.output(out, 1 << 20);
    if (!on) break;
  }
  CHECK(connection.streams() <= 100);
  return 0;
}
