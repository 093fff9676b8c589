// HTTP against a real server on this machine: every reply comes from a socket.
#include "agent/llm/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/agent_server.h"

namespace jailrun::agent {
namespace {

using test::http;
using test::Server;
using testing::HasSubstr;
using testing::Not;

HttpLimits fast() {
  HttpLimits limits;
  limits.first_backoff = std::chrono::milliseconds(1);
  return limits;
}

Expected<HttpReply> post(Server& server, HttpLimits limits = fast()) {
  HttpPost post{server.url(), {"Authorization: Bearer sk-secret"}, "{}"};
  post.limits = limits;
  post.deadline = Clock::now() + std::chrono::seconds(20);
  return post_json(post, Cancel());
}

TEST(Http, PostsTheBodyAndTheHeaders) {
  Server server({http("200 OK", "hello")});
  auto reply = post(server);
  ASSERT_TRUE(reply) << reply.error().line();
  EXPECT_EQ(reply->status, 200);
  EXPECT_EQ(reply->body, "hello");
  auto request = server.requests().at(0);
  EXPECT_THAT(request, testing::StartsWith("POST /v1 HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("Authorization: Bearer sk-secret\r\n"));
  EXPECT_THAT(request, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(request, testing::EndsWith("\r\n\r\n{}"));
}

TEST(Http, TriesAgainAfter429And5xxAndADroppedConnection) {
  Server server({http("429 Too Many Requests", "slow down", "Retry-After: 0\r\n"),
                 http("503 Busy", ""), "", http("200 OK", "at last")});
  auto reply = post(server);
  ASSERT_TRUE(reply) << reply.error().line();
  EXPECT_EQ(reply->body, "at last");
  EXPECT_EQ(server.requests().size(), 4U);
}

TEST(Http, HonoursRetryAfter) {
  Server server({http("429 Too Many Requests", "", "Retry-After: 1\r\n"), http("200 OK", "")});
  auto start = Clock::now();
  ASSERT_TRUE(post(server));
  EXPECT_GE(Clock::now() - start, std::chrono::seconds(1));
}

TEST(Http, DoesNotTryAgainWhereRetryAfterLiesBehindTheDeadline) {
  Server server({http("429 Too Many Requests", "no", "Retry-After: 50\r\n")});
  auto reply = post(server);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 429);
}

TEST(Http, DoesNotTryAgainWhatIsTheCallersFault) {
  Server server({http("400 Bad Request", "no")});
  auto reply = post(server);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 400);
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST(Http, GivesUpAfterItsAttempts) {
  Server server(std::vector<std::string>(5, http("500 Broken", "broken")));
  auto reply = post(server);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 500);
  EXPECT_EQ(server.requests().size(), 5U);
}

TEST(Http, StopsReadingAReplyThatIsTooLarge) {
  Server server({http("200 OK", std::string(1 << 20, 'x'))});
  auto limits = fast();
  limits.reply_bytes = 1000;
  auto reply = post(server, limits);
  ASSERT_FALSE(reply);
  EXPECT_THAT(reply.error().line(), HasSubstr("larger than 1000 bytes"));
}

TEST(Http, FollowsNoRedirectSoThatTheKeyStaysWhereItWasSent) {
  Server other({});
  Server server({http("302 Found", "", "Location: " + other.url() + "\r\n")});
  auto reply = post(server);
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 302);
  EXPECT_TRUE(other.requests().empty());
}

TEST(Http, NamesTheAddressThatCannotBeReachedAndNotTheKey) {
  std::string url;
  {
    Server gone({});
    url = gone.url();
  }
  auto limits = fast();
  limits.attempts = 2;
  HttpPost post{url, {"Authorization: Bearer sk-secret"}, "{}"};
  post.limits = limits;
  post.setting = "OPENAI_BASE_URL";
  std::vector<std::string> told;
  post.waiting = [&](const std::string& why) { told.push_back(why); };
  auto reply = post_json(post, Cancel());
  ASSERT_FALSE(reply);
  EXPECT_THAT(reply.error().line(), HasSubstr(url));
  EXPECT_THAT(reply.error().line(), HasSubstr("OPENAI_BASE_URL"));
  EXPECT_THAT(reply.error().line(), Not(HasSubstr("sk-secret")));
  ASSERT_EQ(told.size(), 1U) << "one pause between two attempts";
  EXPECT_THAT(told[0], HasSubstr("asking again in 1 s"));
}

TEST(Http, OnlySchemesOfTheWebAreSpoken) {
  HttpPost post{"file:///etc/passwd", {}, "{}"};
  post.limits = fast();
  EXPECT_FALSE(post_json(post, Cancel()));
}

TEST(Loopback, IsThisMachineAndNoOtherThatSoundsLikeIt) {
  for (const char* url : {"http://127.0.0.1:80/v1", "http://localhost", "https://[::1]/v1"})
    EXPECT_TRUE(is_loopback(url)) << url;
  for (const char* url :
       {"http://127.0.0.1.evil.example/", "https://localhost.evil.example", "https://example.org"})
    EXPECT_FALSE(is_loopback(url)) << url;
}

}  // namespace
}  // namespace jailrun::agent
