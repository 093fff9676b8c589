// The wire format of Chat Completions: what is sent, and what is made of what comes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "agent/chat_completions.h"
#include "agent/tools.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
using testing::HasSubstr;

TEST(ChatRequest, IsExactlyThis) {
  Conversation conversation;
  conversation.messages = {
      {Role::System, "be brief", {}, "", false},
      {Role::User, "mean tip?", {}, "", false},
      {Role::Assistant, "", {{"c1", "run_python", R"x({"code":"print(1)"})x"}}, "", false},
      {Role::Tool, "stdout:\n1\n", {}, "c1", false}};
  conversation.tools = {{"run_python", "runs", {{"type", "object"}}}};
  auto expected = json::parse(R"x({
    "model": "m",
    "messages": [
      {"role": "system", "content": "be brief"},
      {"role": "user", "content": "mean tip?"},
      {"role": "assistant", "content": null, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "run_python", "arguments": "{\"code\":\"print(1)\"}"}}]},
      {"role": "tool", "content": "stdout:\n1\n", "tool_call_id": "c1"}],
    "tools": [{"type": "function", "function": {"name": "run_python", "description": "runs",
                                                "parameters": {"type": "object"}}}],
    "tool_choice": "auto"})x");
  EXPECT_EQ(chat_request("m", conversation), expected) << chat_request("m", conversation).dump(1);
}

TEST(ChatRequest, EveryToolHasASchemaWithRequiredFields) {
  for (const auto& tool : tools()) {
    EXPECT_EQ(tool.spec.parameters["type"], "object");
    EXPECT_EQ(tool.spec.parameters["required"].size(), 1U);
    EXPECT_FALSE(tool.spec.description.empty());
  }
}

TEST(ChatReply, IsText) {
  auto reply = parse_chat_reply(
      R"({"choices":[{"message":{"content":"It is 3."}}],"usage":{"total_tokens":42}})");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->text, "It is 3.");
  EXPECT_EQ(reply->tokens, 42U);
  EXPECT_TRUE(reply->calls.empty());
}

TEST(ChatReply, HoldsSeveralCallsInOrder) {
  auto reply = parse_chat_reply(R"({"choices":[{"message":{"content":null,"tool_calls":[
    {"id":"a","function":{"name":"run_python","arguments":"{\"code\":\"1\"}"}},
    {"id":"b","function":{"name":"run_python","arguments":{"code":"2"}}},
    {"function":{"name":"finish"}}]}}]})");
  ASSERT_TRUE(reply);
  ASSERT_EQ(reply->calls.size(), 3U);
  EXPECT_EQ(reply->calls[0].id, "a");
  EXPECT_EQ(reply->calls[0].arguments, R"({"code":"1"})");
  EXPECT_EQ(reply->calls[1].arguments, R"({"code":"2"})") << "an object instead of its text";
  EXPECT_EQ(reply->calls[2].id, "call_2") << "an id is made up where there is none";
  EXPECT_EQ(reply->calls[2].arguments, "");
}

TEST(ChatReply, ThatMakesNoSenseIsAnErrorThatNamesWhatIsMissing) {
  struct Bad {
    const char* body;
    const char* why;
  };
  for (auto [body, why] :
       {Bad{"", "not a JSON object"},
        {"<html>", "not a JSON object"},
        {"[]", "not a JSON object"},
        {"{}", "no choices"},
        {R"({"choices":{}})", "no choices"},
        {R"({"choices":[]})", "no choices"},
        {R"({"choices":[7]})", "no message"},
        {R"({"choices":[{"message":null}]})", "no message"},
        {R"({"choices":[{"message":{}}]})", "empty"},
        {R"({"choices":[{"message":{"content":5,"tool_calls":"x"}}]})", "empty"}}) {
    auto reply = parse_chat_reply(body);
    ASSERT_FALSE(reply) << body;
    EXPECT_THAT(reply.error().message, HasSubstr(why)) << body;
    EXPECT_FALSE(reply.error().remedy.empty());
  }
}

TEST(ChatReply, NestedAMillionDeepIsRefusedAndNotRecursedInto) {
  std::string deep = R"({"choices":[{"message":{"tool_calls":[{"function":{"arguments":)";
  EXPECT_FALSE(parse_chat_reply(deep + std::string(1'000'000, '[')));
  EXPECT_FALSE(parse_chat_reply(deep + std::string(1'000'000, '[') + std::string(1'000'000, ']') +
                                "}}]}}]}"));
}

TEST(ChatReply, ARefusalOfTheModelIsTold) {
  auto reply =
      parse_chat_reply(R"({"choices":[{"message":{"content":null,"refusal":"I will not"}}]})");
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->gave_up);
  EXPECT_EQ(reply->text, "I will not");
}

class ChatSettingsTest : public testing::Test {
 protected:
  void SetUp() override { TearDown(); }
  void TearDown() override {
    for (const char* name : {"OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"}) unsetenv(name);
  }
};

TEST_F(ChatSettingsTest, NeedAKeyForTheOfficialAddressOnly) {
  EXPECT_FALSE(chat_settings(""));
  setenv("OPENAI_API_KEY", "sk-1", 1);
  EXPECT_TRUE(chat_settings(""));
  unsetenv("OPENAI_API_KEY");
  setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/", 1);
  auto settings = chat_settings("local");
  ASSERT_TRUE(settings);
  EXPECT_EQ(settings->base_url, "http://127.0.0.1:9/v1");
  EXPECT_EQ(settings->model, "local");
}

TEST_F(ChatSettingsTest, NeedAModelForOtherServers) {
  setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1", 1);
  EXPECT_THAT(chat_settings("").error().line(), HasSubstr("OPENAI_MODEL"));
}

TEST_F(ChatSettingsTest, RefuseAKeyThatWouldAddAHeaderAndDoNotRepeatIt) {
  setenv("OPENAI_API_KEY", "sk-secret\r\nHost: evil", 1);
  auto settings = chat_settings("");
  ASSERT_FALSE(settings);
  EXPECT_THAT(settings.error().line(), testing::Not(HasSubstr("sk-secret")));
}

TEST_F(ChatSettingsTest, RefuseAnAddressThatIsNotHttp) {
  setenv("OPENAI_API_KEY", "sk-1", 1);
  setenv("OPENAI_BASE_URL", "file:///etc/passwd", 1);
  EXPECT_FALSE(chat_settings("m"));
}

}  // namespace
}  // namespace jailrun::agent
