#include "wire/h2/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace banyan::h2 {
namespace {

using testing::HasSubstr;

// Records what it is told.
struct Recorder final : Handler {
  void on_head(StreamId stream, const Head& head) override {
    std::string text;
    for (const Field& field : head.fields)
      text.append(field.name).append("=").append(field.value).append(";");
    heads[stream] = text;
    too_large |= head.too_large;
  }
  void on_trailers(StreamId stream, std::span<const Field> fields) override {
    for (const Field& field : fields)
      trailers[stream].append(field.name).append("=").append(field.value).append(";");
  }
  void on_data(StreamId stream, std::string_view bytes) override { data[stream].append(bytes); }
  void on_end(StreamId stream) override { ended.push_back(stream); }
  void on_writable(StreamId) override { ++writable; }
  void on_closed(StreamId stream, ErrorCode error) override { closed[stream] = error; }
  void on_goaway(StreamId last) override { goaway = last; }

  std::map<StreamId, std::string> heads;
  std::map<StreamId, std::string> trailers;
  std::map<StreamId, std::string> data;
  std::map<StreamId, ErrorCode> closed;
  std::vector<StreamId> ended;
  StreamId goaway = -1;
  int writable = 0;
  bool too_large = false;
};

constexpr Field kGet[] = {
    {":method", "GET"}, {":path", "/"}, {":scheme", "http"}, {":authority", "a.example"}};
constexpr Field kOk[] = {{":status", "200"}};

// A client and a server of this class, joined.
class Joined : public testing::Test {
 public:
  // Until neither has anything to say.
  void exchange() {
    std::string bytes;
    do {
      bytes.clear();
      client_.output(bytes, 1 << 20);
      server_.feed(bytes, now_);
      bytes.clear();
      server_.output(bytes, 1 << 20);
      client_.feed(bytes, now_);
    } while (!bytes.empty());
  }

  // How many round trips of 50 ms a body takes that is taken as it comes.
  int round_trips(std::size_t size) {
    const StreamId stream = client_.request(kGet, Ends::kYes);
    exchange();
    server_.respond(stream, kOk, Ends::kNo);
    server_.send(stream, std::string(size, 'x'), Ends::kYes);
    std::size_t taken = 0;
    int count = 0;
    for (std::string bytes; taken < size && count < 1000; ++count, now_ += 50ms) {
      bytes.clear();
      server_.output(bytes, 64 << 20);
      client_.feed(bytes, now_);
      client_.consume(stream, told_.data[stream].size() - taken);
      taken = told_.data[stream].size();
      bytes.clear();
      client_.output(bytes, 1 << 20);
      server_.feed(bytes, now_);
    }
    return count;
  }

  Mono now_{1s};
  Recorder asked_;
  Recorder told_;
  WindowBudget budget_{64 << 20};
  Connection server_{{}, asked_};
  Connection client_{{.role = Role::kClient, .budget = &budget_}, told_};
};

TEST_F(Joined, ARequestIsAnswered) {
  const StreamId stream = client_.request(kGet, Ends::kYes);
  exchange();
  EXPECT_THAT(asked_.heads[stream], HasSubstr(":authority=a.example;"));
  server_.respond(stream, kOk, Ends::kNo);
  server_.send(stream, "hello", Ends::kYes);
  exchange();
  EXPECT_EQ(told_.heads[stream], ":status=200;");
  EXPECT_EQ(told_.data[stream], "hello");
  EXPECT_EQ(told_.closed.at(stream), ErrorCode::kNone);
  EXPECT_EQ(server_.streams(), 0u);
}

TEST_F(Joined, InterimAnswersAndTrailersPass) {
  const StreamId stream = client_.request(kGet, Ends::kYes);
  exchange();
  const Field hint[] = {{":status", "103"}, {"link", "</a.css>"}};
  server_.interim(stream, hint);
  exchange();
  EXPECT_THAT(told_.heads[stream], HasSubstr("link=</a.css>"));
  server_.respond(stream, kOk, Ends::kNo);
  server_.send(stream, "x", Ends::kNo);
  const Field sum[] = {{"grpc-status", "0"}};
  server_.send_trailers(stream, sum);
  exchange();
  EXPECT_EQ(told_.trailers[stream], "grpc-status=0;");
  EXPECT_THAT(told_.ended, testing::Contains(stream));
}

TEST_F(Joined, ABodyWaitsForTheWindow) {
  const StreamId stream = client_.request(kGet, Ends::kYes);
  exchange();
  server_.respond(stream, kOk, Ends::kNo);
  server_.send(stream, std::string(1'000'000, 'x'), Ends::kYes);
  exchange();
  EXPECT_EQ(told_.data[stream].size(), 256u * 1024);
  EXPECT_GT(server_.waiting(stream), 0u);
  while (told_.data[stream].size() < 1'000'000) {
    const std::size_t before = told_.data[stream].size();
    client_.consume(stream, 128 * 1024);
    exchange();
    ASSERT_GT(told_.data[stream].size(), before);
  }
  EXPECT_EQ(asked_.writable, 1);
}

TEST_F(Joined, WindowsGrowToWhatARoundTripTakes) {
  constexpr std::size_t kBody = 32 << 20;  // 128 first windows
  EXPECT_LT(round_trips(kBody), 30);
  EXPECT_LT(round_trips(kBody), 15);  // the next stream begins with what was learnt
}

TEST_F(Joined, AnEarlyAnswerStopsTheUpload) {
  const StreamId stream = client_.request(kGet, Ends::kNo);
  client_.send(stream, std::string(1000, 'x'), Ends::kNo);
  exchange();
  server_.respond(stream, kOk, Ends::kYes);
  exchange();
  EXPECT_EQ(told_.heads[stream], ":status=200;");
  EXPECT_EQ(told_.closed.at(stream), ErrorCode::kNone);
}

TEST_F(Joined, AnnouncingTheEndLetsStreamsFinish) {
  const StreamId stream = client_.request(kGet, Ends::kYes);
  exchange();
  server_.announce_end();
  exchange();
  EXPECT_GT(told_.goaway, stream);
  server_.end();
  server_.respond(stream, kOk, Ends::kYes);
  exchange();
  EXPECT_EQ(told_.goaway, stream);
  EXPECT_EQ(told_.heads[stream], ":status=200;");
}

TEST_F(Joined, AHeadTooLargeIsCutNotKept) {
  const std::string value(21'000, 'x');
  std::vector<Field> fields(std::begin(kGet), std::end(kGet));
  for (const char* name : {"a", "b", "c"}) fields.push_back({name, value});
  client_.request(fields, Ends::kYes);
  exchange();
  EXPECT_TRUE(asked_.too_large);
  EXPECT_FALSE(server_.is_over());
}

// Frames by hand, for a server.
class Hostile : public testing::Test {
 public:
  Hostile() {
    feed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    frame(4, 0, 0, "");
  }

  static std::string u32(std::uint32_t value) {
    return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
            static_cast<char>(value >> 8), static_cast<char>(value)};
  }
  bool feed(std::string_view bytes) { return server_.feed(bytes, now_); }
  bool frame(char type, char flags, StreamId stream, const std::string& payload) {
    const auto size = static_cast<std::uint32_t>(payload.size());
    return feed(u32(size).substr(1) + type + flags + u32(static_cast<std::uint32_t>(stream)) +
                payload);
  }
  // ":method GET, :scheme http, :path /, :authority a"
  bool get(StreamId stream, char flags = 5) {
    return frame(1, flags, stream, std::string("\x82\x86\x84\x41\x01") + "a");
  }
  void answer(StreamId stream) {
    server_.respond(stream, kOk, Ends::kYes);
    flush();
  }
  void flush() { server_.output(out_, 1 << 20); }
  // The error of the GOAWAY that was sent; -1: none.
  int goaway() {
    flush();
    for (std::size_t at = 0; at + 9 <= out_.size();) {
      const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(out_[at + i]); };
      const std::size_t size = byte(0) << 16 | byte(1) << 8 | byte(2);
      if (byte(3) == 7) return byte(9 + 7);
      at += 9 + size;
    }
    return -1;
  }

  Mono now_{1s};
  Recorder heard_;
  Connection server_{{}, heard_};
  std::string out_;
};

TEST_F(Hostile, APlainRequestIsHeard) {
  EXPECT_TRUE(get(1));
  EXPECT_EQ(heard_.heads.size(), 1u);
  answer(1);
  EXPECT_EQ(goaway(), -1);
}

TEST(Preface, AnythingElseEndsTheConnection) {
  Recorder heard;
  Connection server({}, heard);
  EXPECT_FALSE(server.feed("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Mono{1s}));
  EXPECT_EQ(server.complaint(), "bad preface");
}

TEST_F(Hostile, ASmallerStreamIdIsAProtocolError) {
  get(5);
  EXPECT_FALSE(get(3));
  EXPECT_EQ(goaway(), 1);
}

TEST_F(Hostile, FramesOnAClosedStreamEndTheConnection) {
  get(1);
  answer(1);
  EXPECT_FALSE(frame(0, 0, 1, "data"));
  EXPECT_EQ(goaway(), 5);
}

TEST_F(Hostile, HeadersOnAClosedStreamEndTheConnection) {
  get(1);
  answer(1);
  EXPECT_FALSE(get(1));
  EXPECT_EQ(goaway(), 5);
}

TEST_F(Hostile, WhatWasOnItsWayToAStreamWeResetIsForgiven) {
  get(1, 4);
  server_.reset(1, ErrorCode::kCancel);
  flush();
  EXPECT_TRUE(frame(0, 0, 1, "data"));
  EXPECT_TRUE(get(3));
}

TEST_F(Hostile, RapidResetsAreStopped) {
  StreamId stream = 1;
  for (; stream < 4000; stream += 2)
    if (!get(stream) || !frame(3, 0, stream, u32(8))) break;
  EXPECT_LT(stream, 600);
  EXPECT_EQ(goaway(), 11);
}

TEST_F(Hostile, ResetsThatWeAreMadeToSendAreStopped) {
  StreamId stream = 1;
  for (; stream < 4000; stream += 2) {
    // It ends without the five bytes it announces.
    const std::string lies = std::string("\x82\x86\x84\x41\x01") + "a\x0f\x0d\x01" + "5";
    if (!frame(1, 5, stream, lies)) break;
    flush();
  }
  EXPECT_LT(stream, 600);
  EXPECT_EQ(goaway(), 11);
}

TEST_F(Hostile, FloodsOfCheapFramesAreStopped) {
  const auto survives = [](char type, const std::string& payload, StreamId stream) {
    Recorder heard;
    Connection server({}, heard);
    server.feed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Mono{1s});
    server.feed(std::string("\0\0\0\x04\0\0\0\0\0", 9), Mono{1s});
    std::string out;
    for (int i = 0; i < 20'000; ++i) {
      const std::string head = u32(static_cast<std::uint32_t>(payload.size())).substr(1) + type +
                               '\0' + u32(static_cast<std::uint32_t>(stream));
      if (!server.feed(head + payload, Mono{1s})) return false;
      server.output(out, 1 << 20);
    }
    return true;
  };
  EXPECT_FALSE(survives(6, "12345678", 0));       // PING
  EXPECT_FALSE(survives(4, "", 0));               // SETTINGS
  EXPECT_FALSE(survives(2, u32(0) + '\x10', 1));  // PRIORITY
  EXPECT_FALSE(survives(8, u32(1), 0));           // WINDOW_UPDATE
  EXPECT_FALSE(survives(0x42, "?", 0));           // nobody knows it
}

TEST_F(Hostile, EmptyDataFramesAreStopped) {
  get(1, 4);
  int frames = 0;
  while (frames < 20'000 && frame(0, 0, 1, "")) ++frames;
  EXPECT_LT(frames, 1000);
}

TEST_F(Hostile, EndlessContinuationsAreStopped) {
  frame(1, 1, 1, "\x82");
  int frames = 0;
  while (frames < 1000 && frame(9, 0, 1, std::string("\x40\x01\x61\x01\x62", 5))) ++frames;
  EXPECT_LT(frames, 20);
}

TEST_F(Hostile, ACompressedBombIsNotUnpacked) {
  // One long field into the table, then named again and again with one byte each.
  std::string block = "\x82\x86\x84";
  block += std::string("\x41\x01") + "a";
  block += std::string("\x40\x01") + "x" + std::string("\x7f\xa1\x1e", 3) + std::string(4000, 'y');
  block += std::string(12'000, '\xbe');
  EXPECT_FALSE(frame(1, 5, 1, block));
  EXPECT_EQ(goaway(), 11);
}

TEST(GlitchMeter, ForgivesWithTime) {
  GlitchMeter meter;
  meter.forgive(Mono{1s});
  meter.add(GlitchMeter::kMost + 1);
  EXPECT_TRUE(meter.is_too_much());
  meter.forgive(Mono{2s});
  EXPECT_EQ(meter.count(), GlitchMeter::kMost + 1 - GlitchMeter::kForgivenPerSecond);
  EXPECT_FALSE(meter.is_too_much());
}

}  // namespace
}  // namespace banyan::h2
