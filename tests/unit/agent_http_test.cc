// HTTP against a real server on this machine: every reply comes from a socket.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <mutex>
#include <thread>

#include "agent/chat_completions.h"
#include "agent/http.h"

namespace jailrun::agent {
namespace {

using testing::HasSubstr;
using testing::Not;

// Answers one connection after another with the given texts, then closes; a port of the kernel's
// choice.
class Server {
 public:
  explicit Server(std::vector<std::string> replies) : replies_(std::move(replies)) {
    listener_ = Fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size);
    listen(listener_.get(), 16);
    getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~Server() {
    shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/v1"; }
  std::vector<std::string> requests() {
    std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void serve() {
    for (const auto& reply : replies_) {
      Fd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client.valid()) return;
      std::string request = read_request(client.get());
      {
        std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      for (std::size_t at = 0; at < reply.size();) {
        ssize_t sent = send(client.get(), reply.data() + at, reply.size() - at, MSG_NOSIGNAL);
        if (sent <= 0) break;
        at += static_cast<std::size_t>(sent);
      }
    }
  }

  static std::string read_request(int fd) {
    std::string all;
    char block[4096];
    while (true) {
      auto end = all.find("\r\n\r\n");
      if (end != std::string::npos) {
        auto at = all.find("Content-Length: ");
        if (at == std::string::npos || all.size() >= end + 4 + std::stoul(all.substr(at + 16)))
          return all;
      }
      ssize_t got = recv(fd, block, sizeof block, 0);
      if (got <= 0) return all;
      all.append(block, static_cast<std::size_t>(got));
    }
  }

  std::vector<std::string> replies_, requests_;
  Fd listener_;
  int port_ = 0;
  std::mutex mutex_;
  std::thread thread_;
};

std::string http(const std::string& status, const std::string& body,
                 const std::string& headers = "") {
  return "HTTP/1.1 " + status + "\r\n" + headers +
         "Connection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

HttpLimits fast() {
  HttpLimits limits;
  limits.first_backoff = std::chrono::milliseconds(1);
  return limits;
}

Expected<HttpReply> post(Server& server, HttpLimits limits = fast()) {
  return post_json(server.url(), {"Authorization: Bearer sk-secret"}, "{}", limits,
                   Clock::now() + std::chrono::seconds(20), Cancel());
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
  auto reply = post_json(url, {"Authorization: Bearer sk-secret"}, "{}", limits,
                         Clock::now() + std::chrono::seconds(5), Cancel());
  ASSERT_FALSE(reply);
  EXPECT_THAT(reply.error().line(), HasSubstr(url));
  EXPECT_THAT(reply.error().line(), HasSubstr("OPENAI_BASE_URL"));
  EXPECT_THAT(reply.error().line(), Not(HasSubstr("sk-secret")));
}

TEST(Http, OnlySchemesOfTheWebAreSpoken) {
  auto reply = post_json("file:///etc/passwd", {}, "{}", fast(),
                         Clock::now() + std::chrono::seconds(5), Cancel());
  ASSERT_FALSE(reply);
}

TEST(ChatProvider, NamesWhatARefusalMeansWithoutTheKeyThatTheServerRepeats) {
  Server server({http("401 Unauthorized",
                      R"({"error":{"message":"Incorrect API key provided: sk-secret."}})")});
  ChatSettings settings;
  settings.base_url = server.url();
  settings.model = "m";
  settings.key = "sk-secret";
  Cancel never;
  auto reply =
      make_chat_provider(settings, never)->reply({}, Clock::now() + std::chrono::seconds(5));
  ASSERT_FALSE(reply);
  EXPECT_THAT(reply.error().line(), HasSubstr("401"));
  EXPECT_THAT(reply.error().line(), HasSubstr("check OPENAI_API_KEY"));
  EXPECT_THAT(reply.error().line(), Not(HasSubstr("sk-secret")));
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
