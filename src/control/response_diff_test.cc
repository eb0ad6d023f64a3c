#include "control/response_diff.h"

#include <gtest/gtest.h>

namespace banyan::control {
namespace {

using Verdict = ResponseDiff::Verdict;

HttpAnswer answer(std::string body, std::vector<std::pair<std::string, std::string>> more = {}) {
  more.emplace_back("content-type", "text/html");
  return {.status = 200, .headers = std::move(more), .body = std::move(body)};
}

TEST(ResponseDiff, EqualAnswersAreEqual) {
  EXPECT_EQ(compare_answers(answer("a"), answer("a"), answer("a")).verdict, Verdict::kEqual);
}

TEST(ResponseDiff, WhatTheApplicationVariesByItselfIsNotHeldAgainstTheGateway) {
  const auto page = [](const std::string& token, const std::string& etag) {
    return answer("<input name=\"csrf\" value=\"" + token + "\"> hello", {{"etag", etag}});
  };
  const auto diff = compare_answers(page("aB3", "1"), page("xY9", "2"), page("qqqqq+/=", "3"));
  EXPECT_EQ(diff.verdict, Verdict::kEqual) << diff.what.front();
}

TEST(ResponseDiff, ADifferenceBesideTheNoiseIsFound) {
  const auto page = [](const std::string& token, const std::string& text) {
    return answer("<input value=\"" + token + "\"> " + text);
  };
  const auto diff = compare_answers(page("a", "hello"), page("b", "hello"), page("c", "hullo"));
  EXPECT_EQ(diff.verdict, Verdict::kDifferent);
  ASSERT_EQ(diff.what.size(), 1U);
  EXPECT_NE(diff.what[0].find("body from byte"), std::string::npos);
}

TEST(ResponseDiff, StatusAndHeadersAreCompared) {
  HttpAnswer other = answer("a", {{"x-frame-options", "DENY"}});
  other.status = 301;
  const auto diff = compare_answers(answer("a"), answer("a"), other);
  ASSERT_EQ(diff.what.size(), 2U);
  EXPECT_EQ(diff.what[0], "status: directly 200, through the gateway 301");
  EXPECT_EQ(diff.what[1],
            "header x-frame-options: directly not there, through the gateway \"DENY\"");
}

TEST(ResponseDiff, AHeaderThatOnlyTheGatewayDropsIsADifferenceThoughItsValueVaries) {
  const auto diff =
      compare_answers(answer("a", {{"etag", "1"}}), answer("a", {{"etag", "2"}}), answer("a"));
  EXPECT_EQ(diff.verdict, Verdict::kDifferent);
}

TEST(ResponseDiff, DatesHopByHopFieldsAndCookieValuesAreNoDifference) {
  const auto one = answer("a", {{"date", "Fri"},
                                {"connection", "close"},
                                {"set-cookie", "sessionid=1; expires=Fri; Path=/; HttpOnly"}});
  const auto two = answer("a", {{"date", "Sat"},
                                {"via", "1.1 banyan"},
                                {"set-cookie", "sessionid=2; expires=Sat; Path=/; HttpOnly"}});
  EXPECT_EQ(compare_answers(one, one, two).verdict, Verdict::kEqual);
}

TEST(ResponseDiff, TheAttributesOfACookieAreCompared) {
  const auto one = answer("a", {{"set-cookie", "s=1; Secure"}});
  const auto two = answer("a", {{"set-cookie", "s=1"}});
  EXPECT_EQ(compare_answers(one, one, two).verdict, Verdict::kDifferent);
}

TEST(ResponseDiff, AnApplicationThatCannotBeAlignedWithItselfProvesNothing) {
  EXPECT_EQ(compare_answers(answer("a b c"), answer("a b c d"), answer("a b c")).verdict,
            Verdict::kMoving);
  HttpAnswer broken = answer("a");
  broken.status = 503;
  EXPECT_EQ(compare_answers(answer("a"), broken, answer("a")).verdict, Verdict::kMoving);
}

}  // namespace
}  // namespace banyan::control
