// Models behind servers: settings, keys, streams that break, recordings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "agent/llm/protocol.h"
#include "agent/llm/server_model.h"
#include "agent/llm/transcript.h"
#include "tests/unit/agent_server.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using test::events;
using test::http;
using test::Server;
using testing::HasSubstr;
using testing::Not;

class Settings : public testing::Test {
 protected:
  Settings() {
    std::string pattern = (fs::temp_directory_path() / "agent-XXXXXX").string();
    dir = mkdtemp(pattern.data());
    clear();
  }
  ~Settings() override {
    clear();
    fs::remove_all(dir);
  }
  static void clear() {
    for (const char* name :
         {"OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "OPENAI_API", "ANTHROPIC_API_KEY",
          "ANTHROPIC_BASE_URL", "ANTHROPIC_MODEL", "LLM_PROVIDER", "LLM_BASE_URL", "LLM_API_KEY",
          "LLM_MODEL", "LLM_PRICES", "LLM_TRANSCRIPT", "LLM_RECORD", "LLM_REASONING_EFFORT",
          "SUDO_UID"})
      unsetenv(name);
  }
  std::string env_file() const { return (dir / ".env").string(); }
  void put_env(const std::string& text, mode_t mode = 0600) const {
    std::ofstream(env_file()) << text;
    chmod(env_file().c_str(), mode);
  }
  Expected<ModelSettings> settings(const ModelChoice& choice = {}) const {
    TRY(const Environment environment, Environment::load(env_file()));
    return model_settings(choice, environment);
  }
  fs::path dir;
};

TEST_F(Settings, TakeWhoeverHasAKey) {
  EXPECT_EQ(settings()->provider, Provider::Offline);
  setenv("ANTHROPIC_API_KEY", "sk-ant", 1);
  setenv("ANTHROPIC_MODEL", "claude", 1);
  auto anthropic = settings();
  ASSERT_TRUE(anthropic) << anthropic.error().line();
  EXPECT_EQ(anthropic->provider, Provider::Anthropic);
  EXPECT_EQ(anthropic->protocol, &kMessages);
  setenv("OPENAI_API_KEY", "sk-1", 1);
  EXPECT_EQ(settings()->protocol, &kChatCompletions);
  setenv("OPENAI_API", "responses", 1);
  EXPECT_EQ(settings()->protocol, &kResponses);
  setenv("LLM_BASE_URL", "http://127.0.0.1:9/v1/", 1);
  setenv("LLM_MODEL", "local", 1);
  auto local = settings();
  ASSERT_TRUE(local);
  EXPECT_EQ(local->provider, Provider::Compatible);
  EXPECT_EQ(local->base_url, "http://127.0.0.1:9/v1");
  EXPECT_TRUE(local->key.empty());
  EXPECT_EQ(settings({"offline", "", ""})->provider, Provider::Offline);
}

TEST_F(Settings, ThatLackSomethingNameTheVariable) {
  struct Bad {
    ModelChoice choice;
    const char* why;
  };
  for (const auto& [choice, why] :
       {Bad{{"openai", "", ""}, "OPENAI_API_KEY"}, Bad{{"anthropic", "m", ""}, "ANTHROPIC_API_KEY"},
        Bad{{"compatible", "m", ""}, "LLM_BASE_URL"}, Bad{{"recorded", "", ""}, "LLM_TRANSCRIPT"},
        Bad{{"", "gpt", ""}, "OPENAI_API_KEY"}, Bad{{"bard", "", ""}, "one of: auto"}}) {
    const auto made = settings(choice);
    ASSERT_FALSE(made) << why;
    EXPECT_THAT(made.error().line(), HasSubstr(why));
  }
  setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1", 1);
  EXPECT_THAT(settings({"openai", "", ""}).error().line(), HasSubstr("OPENAI_MODEL"));
  setenv("OPENAI_BASE_URL", "file:///etc/passwd", 1);
  EXPECT_THAT(settings({"openai", "m", ""}).error().line(), HasSubstr("not an http"));
}

TEST_F(Settings, RefuseAKeyThatWouldAddAHeaderAndDoNotRepeatIt) {
  setenv("OPENAI_API_KEY", "sk-secret\r\nHost: evil", 1);
  const auto made = settings();
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().line(), Not(HasSubstr("sk-secret")));
}

TEST_F(Settings, OfAFileCountWhereTheEnvironmentSaysNothing) {
  put_env("# mine\nexport OPENAI_API_KEY='sk-file'\nOPENAI_MODEL=\"a model\" # c\nOTHER=1\n");
  auto made = settings();
  ASSERT_TRUE(made) << made.error().line();
  EXPECT_EQ(made->key.reveal(), "sk-file");
  EXPECT_EQ(made->model, "a model");
  setenv("OPENAI_MODEL", "of the environment", 1);
  EXPECT_EQ(settings()->model, "of the environment");
}

TEST_F(Settings, OfAFileCannotSendAKeyOfTheEnvironmentElsewhere) {
  setenv("OPENAI_API_KEY", "sk-mine", 1);
  put_env("OPENAI_BASE_URL=http://evil.example/v1\nOPENAI_MODEL=m\n");
  const auto made = settings();
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().line(), HasSubstr("must not choose"));
  put_env("OPENAI_MODEL=m\n");
  EXPECT_TRUE(settings());
}

TEST_F(Settings, OfAFileThatOthersMayWriteAreRefusedWhereTheyMatter) {
  put_env("OPENAI_BASE_URL=http://evil.example/v1\n", 0666);
  EXPECT_THAT(settings().error().line(), HasSubstr("chmod 600"));
  put_env("DATABASE=1\n", 0666);
  EXPECT_TRUE(settings()) << "it says nothing of models";
}

TEST_F(Settings, KnowCostsOnlyFromPrices) {
  EXPECT_FALSE(settings()->prices);
  setenv("LLM_PRICES", "2/0.5/8", 1);
  EXPECT_DOUBLE_EQ(settings()->prices->cost_usd({1'000'000, 400'000, 100'000, 0}), 1.2 + 0.2 + 0.8);
  for (const char* bad : {"2/1", "x", "1/2/3 ", "-1/0/0"}) {
    setenv("LLM_PRICES", bad, 1);
    EXPECT_FALSE(settings()) << bad;
  }
}

ModelSettings server_settings(const Server& server, const Protocol& protocol = kChatCompletions) {
  ModelSettings settings;
  settings.provider = Provider::OpenAi;
  settings.protocol = &protocol;
  settings.base_url = server.url();
  settings.model = "m";
  settings.key = Secret("sk-secret");
  settings.key_name = "OPENAI_API_KEY";
  settings.url_name = "OPENAI_BASE_URL";
  settings.model_name = "OPENAI_MODEL";
  settings.limits.first_backoff = std::chrono::milliseconds(1);
  return settings;
}

Expected<ModelReply> ask(const ModelSettings& settings, const Listener& listener = {}) {
  const Cancel never;
  return make_server_model(settings, never)
      ->reply({{{Role::User, "q"}}}, Clock::now() + std::chrono::seconds(20), listener);
}

constexpr const char* kText =
    "data: {\"choices\":[{\"delta\":{\"content\":\"It is\"}}]}\n\n"
    "data: {\"choices\":[{\"delta\":{\"content\":\" 3.\"},\"finish_reason\":\"stop\"}]}\n\n";
constexpr const char* kWhole = R"({"choices":[{"message":{"content":"It is 3."}}]})";

struct Heard {
  std::string text;
  int again = 0;
  std::vector<std::string> waits;
  Listener listener() {
    return {[this](std::string_view piece) { text += piece; }, [this] { ++again, text.clear(); },
            [this](const std::string& why) { waits.push_back(why); }};
  }
};

TEST(ServerModel, StreamsWhereSomebodyListens) {
  Server server({events(std::string(kText) + "data: [DONE]\n\n")});
  Heard heard;
  const auto reply = ask(server_settings(server), heard.listener());
  ASSERT_TRUE(reply) << reply.error().line();
  EXPECT_EQ(reply->text, "It is 3.");
  EXPECT_EQ(heard.text, "It is 3.");
  EXPECT_THAT(server.requests().at(0), HasSubstr("\"stream\":true"));
}

TEST(ServerModel, UnderstandsAServerThatDoesNotStream) {
  Server server({http("200 OK", kWhole)});
  Heard heard;
  ASSERT_TRUE(ask(server_settings(server), heard.listener()));
  EXPECT_EQ(heard.text, "It is 3.");
}

TEST(ServerModel, AsksAgainWhereAStreamBreaksOffAndSaysSo) {
  Server server({events(kText, false), events("data: {\"error\":{\"message\":\"overloaded\"}}\n\n"),
                 events("data: {broken\n\n"), http("429 Slow", "", "Retry-After: 0\r\n"),
                 events(std::string(kText) + "data: [DONE]\n\n")});
  Heard heard;
  const auto reply = ask(server_settings(server), heard.listener());
  ASSERT_TRUE(reply) << reply.error().line();
  EXPECT_EQ(heard.text, "It is 3.") << "what the broken one said is void";
  EXPECT_EQ(heard.again, 1);
  ASSERT_EQ(heard.waits.size(), 4U);
  EXPECT_THAT(heard.waits[0], HasSubstr("broke off"));
  EXPECT_THAT(heard.waits[3], HasSubstr("429"));
}

TEST(ServerModel, GivesUpOnAServerThatAlwaysFailsInTheMiddleWithItsWords) {
  Server server(std::vector<std::string>(
      5, events("data: {\"error\":{\"message\":\"overloaded, sk-secret\"}}\n\n")));
  Heard heard;
  const auto reply = ask(server_settings(server), heard.listener());
  ASSERT_FALSE(reply);
  EXPECT_THAT(reply.error().line(), HasSubstr("overloaded, [key]"));
}

TEST(ServerModel, DoesNotWaitForEverForAStreamThatFallsSilent) {
  auto stream = events(kText, false);
  Server server({stream}, true);
  auto settings = server_settings(server);
  settings.limits.silence = std::chrono::milliseconds(100);
  Heard heard;
  const auto reply = ask(settings, heard.listener());
  ASSERT_FALSE(reply);
  EXPECT_THAT(reply.error().line(), HasSubstr("in time"));
}

TEST(ServerModel, NamesWhatARefusalMeansWithoutTheKeyThatTheServerRepeats) {
  for (const Protocol* protocol : {&kChatCompletions, &kResponses, &kMessages}) {
    Server server({http("401 Unauthorized",
                        R"({"error":{"message":"Incorrect API key provided: sk-secret."}})")});
    const auto reply = ask(server_settings(server, *protocol));
    ASSERT_FALSE(reply);
    EXPECT_THAT(reply.error().line(), HasSubstr("401: Incorrect API key provided: [key]."));
    EXPECT_THAT(reply.error().line(), HasSubstr("check OPENAI_API_KEY"));
    EXPECT_THAT(reply.error().line(), Not(HasSubstr("sk-secret")));
    EXPECT_THAT(server.requests().at(0), HasSubstr("sk-secret"));
  }
}

class Transcripts : public Settings {
 protected:
  std::string path() const { return (dir / "t.jsonl").string(); }
  static ModelRequest request(std::size_t messages) {
    ModelRequest made{{{Role::Developer, "be brief"}, {Role::User, "q"}}};
    while (made.messages.size() < messages)
      made.messages.push_back({Role::Tool, "stdout: 1", {}, "a"});
    return made;
  }
  void record() const {
    Server server({http("200 OK", kWhole), http("200 OK", kWhole)});
    auto settings = server_settings(server);
    settings.record = path();
    const Cancel never;
    auto model = make_model(settings, never);
    ASSERT_TRUE(model);
    for (const std::size_t messages : {2U, 3U})
      ASSERT_TRUE((*model)->reply(request(messages), Deadline::max(), {}));
  }
};

TEST_F(Transcripts, ReplayExactly) {
  record();
  auto replayed = make_recorded_model(path());
  ASSERT_TRUE(replayed) << replayed.error().line();
  EXPECT_EQ((*replayed)->model(), "m");
  auto first = (*replayed)->reply(request(2), Deadline::max(), {});
  ASSERT_TRUE(first) << first.error().line();
  EXPECT_EQ(first->text, "It is 3.");
  EXPECT_FALSE((*replayed)->finish()) << "one is left";
  ASSERT_TRUE((*replayed)->reply(request(3), Deadline::max(), {}));
  EXPECT_TRUE((*replayed)->finish());
  EXPECT_THAT((*replayed)->reply(request(3), Deadline::max(), {}).error().line(),
              HasSubstr("one too many"));
}

TEST_F(Transcripts, NameTheFirstDifference) {
  record();
  auto replayed = make_recorded_model(path());
  ASSERT_TRUE((*replayed)->reply(request(2), Deadline::max(), {}));
  auto other = request(3);
  other.messages[2].text = "stdout: 2";
  const auto reply = (*replayed)->reply(other, Deadline::max(), {});
  ASSERT_FALSE(reply);
  EXPECT_THAT(reply.error().line(), HasSubstr("request 2 differs at /messages/2/text from "
                                              "character 8 on: recorded \"stdout: 1\", now "
                                              "\"stdout: 2\""));
}

TEST_F(Transcripts, HoldNoKeyAndOverwriteNothing) {
  record();
  std::ifstream file(path());
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_THAT(text, HasSubstr("\"usage\""));
  EXPECT_THAT(text, Not(HasSubstr("sk-secret")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
  Server server({});
  auto settings = server_settings(server);
  settings.record = path();
  EXPECT_THAT(make_model(settings, Cancel()).error().line(), HasSubstr("not there yet"));
}

TEST_F(Transcripts, ThatAreNoneAreRefused) {
  for (const char* text :
       {"x\n", "{}\n", "{\"transcript\":1}\n{}\n", "{\"transcript\":1}\n{\"request\":7}\n"}) {
    std::ofstream(path()) << text;
    EXPECT_THAT(make_recorded_model(path()).error().line(), HasSubstr("no line of a transcript"));
  }
  EXPECT_FALSE(make_recorded_model("/nowhere"));
  EXPECT_FALSE(make_recorded_model("/dev/zero"));
}

}  // namespace
}  // namespace jailrun::agent
