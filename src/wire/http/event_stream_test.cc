#include "wire/http/event_stream.h"

#include <gtest/gtest.h>

namespace banyan::http {
namespace {

using Body = EventStreamFollower::Body;
using Coding = EventStreamFollower::Coding;

bool ends_at_boundary(std::string_view bytes, Body body = Body::kPlain,
                      Coding coding = Coding::kNone) {
  EventStreamFollower whole(body, coding);
  whole.take(bytes);
  EventStreamFollower cut(body, coding);
  for (std::size_t i = 0; i < bytes.size(); ++i) cut.take(bytes.substr(i, 1));
  EXPECT_EQ(whole.at_boundary(), cut.at_boundary()) << bytes;
  return whole.at_boundary();
}

TEST(EventStreamFollower, AnEventEndsWithAnEmptyLine) {
  for (const char* ended : {"", "data: 1\n\n", "data: 1\r\n\r\n", "data: 1\r\rid: 2\n\r\n"})
    EXPECT_TRUE(ends_at_boundary(ended)) << ended;
  for (const char* open : {"data: 1", "data: 1\n", "data: 1\r\n", "a\n\nb\n", "data: 1\n:c\n"})
    EXPECT_FALSE(ends_at_boundary(open)) << open;
}

TEST(EventStreamFollower, ACommentAloneIsNoEvent) {
  EXPECT_TRUE(ends_at_boundary("data: 1\n\n: ping\n"));
  EXPECT_FALSE(ends_at_boundary("data: 1\n\n: pi"));
}

TEST(EventStreamFollower, ABodyInChunksEndsBetweenTwo) {
  EXPECT_TRUE(ends_at_boundary("9\r\ndata: 1\n\n\r\n", Body::kChunked));
  EXPECT_FALSE(ends_at_boundary("9\r\ndata: 1\n\n", Body::kChunked));
  EXPECT_FALSE(ends_at_boundary("8\r\ndata: 1\n\r\n", Body::kChunked));
  EXPECT_FALSE(ends_at_boundary("9\r\ndata: 1\n\n\r\n9", Body::kChunked));
}

TEST(EventStreamFollower, TakesNoMoreThanToTheBoundary) {
  EventStreamFollower events(Body::kPlain, Coding::kNone);
  events.take("data: ");
  EXPECT_EQ(events.take_to_boundary("1\n\ndata: 2\n\n"), 3U);
  EXPECT_EQ(events.take_to_boundary("data: 3\n\n"), 0U);
}

TEST(EventStreamFollower, OfACodedStreamOnlyTheChunksAreSeen) {
  EXPECT_TRUE(ends_at_boundary("3\r\nxyz\r\n", Body::kChunked, Coding::kSome));
  EXPECT_FALSE(ends_at_boundary("3\r\nxy", Body::kChunked, Coding::kSome));
  EXPECT_TRUE(ends_at_boundary("xy", Body::kPlain, Coding::kSome));
}

}  // namespace
}  // namespace banyan::http
