#include "wire/http/websocket.h"

#include <gtest/gtest.h>

namespace banyan::http {
namespace {

using Sender = WebSocketFollower::Sender;
using Stop = WebSocketFollower::Stop;
using namespace std::string_literals;  // NOLINT(google-build-using-namespace)

std::string frame(char first, std::size_t size) {
  std::string out(1, first);
  if (size < 126) {
    out += static_cast<char>(size);
  } else if (size < 0x10000) {
    out += {126, static_cast<char>(size >> 8), static_cast<char>(size)};
  } else {
    out += 127;
    for (int i = 7; i >= 0; --i) out += static_cast<char>(std::uint64_t{size} >> (8 * i));
  }
  return out + std::string(size, 'x');
}

std::string text(std::size_t size) {
  return frame('\x81', size);
}

TEST(WebSocketFollower, BoundariesAreFoundHoweverTheBytesAreCut) {
  const std::size_t sizes[] = {0, 1, 125, 126, 65'535, 65'536};
  for (std::size_t step : {1U, 3U, 1000U, 1'000'000U}) {
    WebSocketFollower frames(Sender::kServer);
    for (const std::size_t size : sizes) {
      const std::string bytes = text(size);
      for (std::size_t at = 0; at < bytes.size(); at += step) {
        EXPECT_EQ(frames.at_boundary(), at == 0) << size << " at " << at;
        frames.take(std::string_view(bytes).substr(at, step));
      }
      EXPECT_TRUE(frames.at_boundary()) << size;
    }
  }
}

TEST(WebSocketFollower, StopsAtTheEndOfTheFrameUnderWay) {
  WebSocketFollower frames(Sender::kServer);
  const std::string bytes = text(5) + text(300) + text(1);
  EXPECT_EQ(frames.take(std::string_view(bytes).substr(0, 3)), 3U);
  const std::string_view rest = std::string_view(bytes).substr(3);
  EXPECT_EQ(frames.take(rest, Stop::kAtFrameEnd), 4U);
  EXPECT_EQ(frames.take(rest.substr(4), Stop::kAtFrameEnd), 304U);
}

TEST(WebSocketFollower, ControlFramesStandBetweenFragments) {
  WebSocketFollower frames(Sender::kServer);
  frames.take(frame('\x01', 4) + frame('\x89', 2) + frame('\x80', 4));
  EXPECT_TRUE(frames.at_boundary());
  EXPECT_FALSE(frames.closed());
}

TEST(WebSocketFollower, ACloseIsNoticedWhenItIsWhole) {
  WebSocketFollower server(Sender::kServer);
  const std::string bytes = close_frame(1012);
  EXPECT_EQ(bytes, "\x88\x02\x03\xf4"s);
  server.take(std::string_view(bytes).substr(0, 3));
  EXPECT_FALSE(server.closed());
  server.take(std::string_view(bytes).substr(3));
  EXPECT_TRUE(server.closed());
  EXPECT_TRUE(server.at_boundary());

  WebSocketFollower client(Sender::kClient);
  const std::string masked = masked_close_frame(1001, 0x04030201);
  EXPECT_EQ(masked, "\x88\x82\x01\x02\x03\x04"s + "\x02\xeb"s);
  client.take(masked);
  EXPECT_TRUE(client.closed());
}

TEST(WebSocketFollower, WhatAreNoFramesIsMalformed) {
  const std::string cases[] = {
      "\x81\x85"s,                                  // masked, from a server
      frame('\x89', 126),                           // a long control frame
      frame('\x08', 2),                             // a control frame in fragments
      "\x81\x7e\x00\x7d"s,                          // a length in more bytes than it needs
      "\x81\x7f\x00\x00\x00\x00\x00\x00\xff\xff"s,  //
      "\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00"s,  // beyond 63 bits
      close_frame(1000) + text(1),                  // after the end
  };
  for (const std::string& bytes : cases) {
    WebSocketFollower frames(Sender::kServer);
    EXPECT_EQ(frames.take(bytes), bytes.size());
    EXPECT_TRUE(frames.malformed()) << bytes;
    EXPECT_FALSE(frames.at_boundary());
    EXPECT_EQ(frames.take("more", Stop::kAtFrameEnd), 4U);
  }
  WebSocketFollower client(Sender::kClient);
  client.take(text(1));
  EXPECT_TRUE(client.malformed()) << "a client's frame without a mask";
}

}  // namespace
}  // namespace banyan::http
