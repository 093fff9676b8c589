// The protocols of models as pure functions: what is sent, what is made of what comes back, whole
// or in pieces.
#include "agent/llm/protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/llm/json.h"
#include "agent/llm/sse.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
using testing::HasSubstr;

ModelRequest conversation() {
  ModelRequest request;
  request.messages = {
      {Role::Developer, "be brief"},
      {Role::User, "mean tip?"},
      {Role::Assistant, "", {{"c1", "run_python", R"x({"code":"print(1)"})x"}}},
      {Role::Tool, "stdout:\n1\n", {}, "c1"},
  };
  request.tools = {{"run_python", "runs", {{"type", "object"}}}};
  return request;
}

TEST(ChatRequest, IsExactlyThis) {
  const auto expected = json::parse(R"x({
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
  const auto made = kChatCompletions.request(conversation(), {"m"});
  EXPECT_EQ(made, expected) << made.dump(1);
}

TEST(ChatRequest, HasEffortSchemaAndStreamOnlyWhereAskedFor) {
  auto request = conversation();
  EXPECT_FALSE(kChatCompletions.request(request, {"m"}).contains("reasoning_effort"));
  request.reasoning_effort = "high";
  request.output = OutputSchema{"plan", {{"type", "object"}}};
  request.max_output_tokens = 7;
  const auto made = kChatCompletions.request(request, {"m", true, true});
  EXPECT_EQ(made["reasoning_effort"], "high");
  EXPECT_EQ(made["response_format"]["json_schema"]["name"], "plan");
  EXPECT_EQ(made["max_completion_tokens"], 7);
  EXPECT_EQ(made["stream"], true);
  EXPECT_EQ(made["messages"][0]["role"], "developer") << "as OpenAI itself calls it";
}

TEST(ResponsesRequest, IsExactlyThis) {
  auto request = conversation();
  request.reasoning_effort = "low";
  const auto expected = json::parse(R"x({
    "model": "m", "store": false,
    "input": [
      {"role": "developer", "content": "be brief"},
      {"role": "user", "content": "mean tip?"},
      {"type": "function_call", "call_id": "c1", "name": "run_python", "arguments": "{\"code\":\"print(1)\"}"},
      {"type": "function_call_output", "call_id": "c1", "output": "stdout:\n1\n"}],
    "tools": [{"type": "function", "name": "run_python", "description": "runs",
               "parameters": {"type": "object"}, "strict": false}],
    "tool_choice": "auto",
    "reasoning": {"effort": "low"}, "include": ["reasoning.encrypted_content"]})x");
  const auto made = kResponses.request(request, {"m"});
  EXPECT_EQ(made, expected) << made.dump(1);
}

TEST(MessagesRequest, IsExactlyThis) {
  auto request = conversation();
  request.messages.push_back({Role::Tool, "failed", {}, "c2", true});
  request.messages.push_back({Role::User, "go on"});
  const auto expected = json::parse(R"x({
    "model": "m", "max_tokens": 16384, "system": "be brief",
    "messages": [
      {"role": "user", "content": [{"type": "text", "text": "mean tip?"}]},
      {"role": "assistant", "content": [
        {"type": "tool_use", "id": "c1", "name": "run_python", "input": {"code": "print(1)"}}]},
      {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "c1", "content": "stdout:\n1\n", "is_error": false},
        {"type": "tool_result", "tool_use_id": "c2", "content": "failed", "is_error": true},
        {"type": "text", "text": "go on"}]}],
    "tools": [{"name": "run_python", "description": "runs", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"}})x");
  const auto made = kMessages.request(request, {"m"});
  EXPECT_EQ(made, expected) << made.dump(1);
}

TEST(Requests, SendBackWhatTheProtocolWantsToSeeAgain) {
  ModelRequest request;
  request.messages = {{Role::User, "q"},
                      {Role::Assistant, "words", {}, "", false, json::parse(R"([{"type":"x"}])")}};
  EXPECT_EQ(kMessages.request(request, {"m"})["messages"][1]["content"],
            json::parse(R"([{"type":"x"}])"));
  EXPECT_EQ(kResponses.request(request, {"m"})["input"][1], json::parse(R"({"type":"x"})"));
  EXPECT_EQ(kChatCompletions.request(request, {"m"})["messages"][1]["content"], "words");
}

// The same reply in each protocol: text, two calls, usage.
struct Spoken {
  const Protocol* protocol;
  const char* whole;
  const char* stream;
};

const Spoken kSpoken[] = {
    {&kChatCompletions,
     R"({"choices":[{"finish_reason":"tool_calls","message":{"content":"Let me see.","tool_calls":[
       {"id":"a","function":{"name":"run_python","arguments":"{\"code\":\"1\"}"}},
       {"id":"b","function":{"name":"finish","arguments":"{}"}}]}}],
       "usage":{"prompt_tokens":30,"completion_tokens":12,"prompt_tokens_details":{"cached_tokens":10}}})",
     R"(data: {"choices":[{"delta":{"role":"assistant","content":"Let me"}}]}

data: {"choices":[{"delta":{"content":" see."}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"run_python","arguments":""}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"code\":"}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"1\"}"}}]}}]}

data: {"choices":[{"delta":{"tool_calls":[{"index":1,"id":"b","function":{"name":"finish","arguments":"{}"}}]}}]}

data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}

data: {"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":12,"prompt_tokens_details":{"cached_tokens":10}}}

data: [DONE]

)"},
    {&kResponses,
     R"({"status":"completed","output":[
       {"type":"message","content":[{"type":"output_text","text":"Let me see."}]},
       {"type":"function_call","call_id":"a","name":"run_python","arguments":"{\"code\":\"1\"}"},
       {"type":"function_call","call_id":"b","name":"finish","arguments":"{}"}],
       "usage":{"input_tokens":30,"output_tokens":12,"input_tokens_details":{"cached_tokens":10}}})",
     R"(event: response.created
data: {"type":"response.created","response":{"status":"in_progress","output":[]}}

event: response.output_text.delta
data: {"type":"response.output_text.delta","delta":"Let me"}

: keep-alive

event: response.output_text.delta
data: {"type":"response.output_text.delta","delta":" see."}

event: response.completed
data: {"type":"response.completed","response":{"status":"completed","output":[
data:  {"type":"message","content":[{"type":"output_text","text":"Let me see."}]},
data:  {"type":"function_call","call_id":"a","name":"run_python","arguments":"{\"code\":\"1\"}"},
data:  {"type":"function_call","call_id":"b","name":"finish","arguments":"{}"}],
data:  "usage":{"input_tokens":30,"output_tokens":12,"input_tokens_details":{"cached_tokens":10}}}}

)"},
    {&kMessages,
     R"({"stop_reason":"tool_use","content":[{"type":"text","text":"Let me see."},
       {"type":"tool_use","id":"a","name":"run_python","input":{"code":"1"}},
       {"type":"tool_use","id":"b","name":"finish","input":{}}],
       "usage":{"input_tokens":20,"cache_read_input_tokens":10,"output_tokens":12}})",
     R"(event: message_start
data: {"type":"message_start","message":{"content":[],"usage":{"input_tokens":20,"cache_read_input_tokens":10,"output_tokens":1}}}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Let me"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" see."}}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"a","name":"run_python","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"code\":"}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"\"1\"}"}}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"b","name":"finish","input":{}}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":12}}

event: message_stop
data: {"type":"message_stop"}

)"}};

void expect_spoken(const Expected<ModelReply>& reply, std::string_view protocol) {
  ASSERT_TRUE(reply) << protocol << reply.error().line();
  EXPECT_EQ(reply->text, "Let me see.") << protocol;
  ASSERT_EQ(reply->calls.size(), 2U) << protocol;
  EXPECT_EQ(reply->calls[0].id, "a") << protocol;
  EXPECT_EQ(reply->calls[0].name, "run_python") << protocol;
  EXPECT_EQ(reply->calls[0].arguments, R"({"code":"1"})") << protocol;
  EXPECT_EQ(reply->calls[1].name, "finish") << protocol;
  EXPECT_EQ(reply->usage.input, 30U) << protocol;
  EXPECT_EQ(reply->usage.cached, 10U) << protocol;
  EXPECT_EQ(reply->usage.output, 12U) << protocol;
  EXPECT_FALSE(reply->cut) << protocol;
}

TEST(Replies, SayTheSameWholeAndInPiecesOfAnySize) {
  for (const auto& [protocol, whole, stream] : kSpoken) {
    expect_spoken(protocol->parse(parse_json(whole)), protocol->name);
    for (const std::size_t size : {1U, 5U, 1000U, 1'000'000U}) {
      auto assembler = protocol->assemble();
      EventStream events;
      std::string heard;
      const std::string_view text(stream);
      for (std::size_t at = 0; at < text.size(); at += size)
        ASSERT_TRUE(events.put(text.substr(at, size), [&](const auto& event, const auto& data) {
          if (data == "[DONE]") return assembler->end();
          heard += assembler->add(event, parse_json(data));
        }));
      EXPECT_TRUE(assembler->whole()) << protocol->name;
      EXPECT_EQ(heard, "Let me see.") << protocol->name;
      expect_spoken(protocol->parse(assembler->take()), protocol->name);
    }
  }
}

TEST(Replies, ThatAreCutShortAreNotWholeAndMakeNoTrouble) {
  for (const auto& [protocol, whole, stream] : kSpoken) {
    const std::string_view text(stream);
    for (std::size_t end = 0; end < text.size() - 40; end += 3) {
      auto assembler = protocol->assemble();
      EventStream events;
      events.put(text.substr(0, end), [&](const auto& event, const auto& data) {
        const json body = parse_json(data);
        if (body.is_object()) assembler->add(event, body);
      });
      EXPECT_FALSE(assembler->whole()) << protocol->name << " at " << end;
      (void)protocol->parse(assembler->take());
    }
  }
}

// A thousand replies with bytes changed, taken out and doubled: each is a reply or a named error.
TEST(Replies, MutatedAThousandTimesAreRepliesOrErrors) {
  std::uint32_t state = 12345;
  auto next = [&] { return state = state * 1664525U + 1013904223U, state >> 8; };
  for (int round = 0; round < 1000; ++round) {
    const auto& [protocol, whole, stream] = kSpoken[next() % 3];
    std::string text = whole, pieces = stream;
    for (auto* mutated : {&text, &pieces})
      for (std::uint32_t n = next() % 8; n > 0; --n) {
        const auto at = next() % mutated->size();
        if (next() % 3 == 0)
          mutated->erase(at, next() % 20);
        else if (next() % 2 == 0)
          mutated->insert(at, mutated->substr(next() % mutated->size(), 30));
        else
          (*mutated)[at] = static_cast<char>(next());
      }
    auto reply = protocol->parse(parse_json(text));
    EXPECT_TRUE(reply || !reply.error().remedy.empty());
    auto assembler = protocol->assemble();
    EventStream events;
    events.put(pieces, [&](const auto& event, const auto& data) {
      const json body = parse_json(data);
      if (body.is_object()) (void)assembler->add(event, body);
    });
    auto streamed = protocol->parse(assembler->take());
    EXPECT_TRUE(streamed || !streamed.error().message.empty());
  }
}

TEST(Replies, ThatMakeNoSenseAreErrorsThatNameWhatIsMissing) {
  struct Bad {
    const Protocol* protocol;
    const char* body;
    const char* why;
  };
  for (auto [protocol, body, why] :
       {Bad{&kChatCompletions, "", "not a JSON object"},
        {&kChatCompletions, "<html>", "not a JSON object"},
        {&kChatCompletions, "[]", "not a JSON object"},
        {&kChatCompletions, "{}", "no choices"},
        {&kChatCompletions, R"({"choices":{}})", "no choices"},
        {&kChatCompletions, R"({"choices":[7]})", "no message"},
        {&kChatCompletions, R"({"choices":[{"message":null}]})", "no message"},
        {&kChatCompletions, R"({"choices":[{"message":{}}]})", "empty"},
        {&kChatCompletions, R"({"choices":[{"message":{"content":5,"tool_calls":"x"}}]})", "empty"},
        {&kResponses, "7", "not a JSON object"},
        {&kResponses, "{}", "no output"},
        {&kResponses, R"({"output":[]})", "empty"},
        {&kResponses, R"({"status":"failed","error":{"message":"boom"}})", "boom"},
        {&kMessages, "null", "not a JSON object"},
        {&kMessages, "{}", "no content"},
        {&kMessages, R"({"content":[1,null,{"type":"text"}]})", "empty"}}) {
    const auto reply = protocol->parse(parse_json(body));
    ASSERT_FALSE(reply) << body;
    EXPECT_THAT(reply.error().message, HasSubstr(why)) << body;
    EXPECT_FALSE(reply.error().remedy.empty());
  }
}

TEST(Replies, NestedAMillionDeepAreRefusedAndNotRecursedInto) {
  const std::string deep = R"({"choices":[{"message":{"tool_calls":[{"function":{"arguments":)";
  EXPECT_FALSE(kChatCompletions.parse(parse_json(deep + std::string(1'000'000, '['))));
}

TEST(Replies, ThatRefuseOrWereCutSaySo) {
  auto refused = kChatCompletions.parse(
      parse_json(R"({"choices":[{"message":{"content":null,"refusal":"I will not"}}]})"));
  ASSERT_TRUE(refused);
  EXPECT_TRUE(refused->gave_up);
  EXPECT_EQ(refused->text, "I will not");
  auto stopped = kMessages.parse(parse_json(R"({"content":[],"stop_reason":"refusal"})"));
  ASSERT_TRUE(stopped);
  EXPECT_TRUE(stopped->gave_up);
  auto cut = kChatCompletions.parse(
      parse_json(R"({"choices":[{"finish_reason":"length","message":{"content":"It is"}}]})"));
  ASSERT_TRUE(cut);
  EXPECT_TRUE(cut->cut);
}

TEST(Replies, OfSmallServersAreUnderstood) {
  auto reply =
      kChatCompletions.parse(parse_json(R"({"choices":[{"message":{"content":null,"tool_calls":[
    {"id":"b","function":{"name":"run_python","arguments":{"code":"2"}}},
    {"function":{"name":"finish"}}]}}],"usage":{"total_tokens":42}})"));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->calls[0].arguments, R"({"code":"2"})") << "an object instead of its text";
  EXPECT_EQ(reply->calls[1].id, "call_1") << "an id is made up where there is none";
  EXPECT_EQ(reply->usage.total(), 42U);
}

TEST(Replies, KeepReasoningForTheNextRequest) {
  auto thought = kMessages.parse(parse_json(R"({"stop_reason":"end_turn","content":[
    {"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"3"}]})"));
  ASSERT_TRUE(thought);
  EXPECT_EQ(thought->native[0]["signature"], "s");
  auto plain = kMessages.parse(parse_json(R"({"content":[{"type":"text","text":"3"}]})"));
  ASSERT_TRUE(plain);
  EXPECT_TRUE(plain->native.is_null());
}

TEST(StructuredOutput, OfMessagesIsTheOneToolThatMustBeCalled) {
  ModelRequest request{{{Role::User, "q"}}};
  request.output = OutputSchema{"plan", {{"type", "object"}}};
  const auto made = kMessages.request(request, {"m"});
  EXPECT_EQ(made["tool_choice"]["name"], "structured_output");
  auto reply = kMessages.parse(parse_json(
      R"({"content":[{"type":"tool_use","id":"a","name":"structured_output","input":{"x":1}}]})"));
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->text, R"({"x":1})");
  EXPECT_TRUE(reply->calls.empty());
}

TEST(Events, KeepToTheStandard) {
  EventStream events;
  std::vector<std::pair<std::string, std::string>> heard;
  events.put("\xef\xbb\xbf: hello\r\nevent: a\rdata:1\r\ndata: 2\n\nid: 7\ndata\n\nevent: b\n\n",
             [&](const auto& event, const auto& data) { heard.emplace_back(event, data); });
  EXPECT_EQ(heard, (decltype(heard){{"a", "1\n2"}, {"", ""}}));
}

TEST(Events, OfEndlessSizeAreRefused) {
  EventStream events;
  const std::string more(1 << 20, 'x');
  bool taken = true;
  for (int i = 0; i < 10 && taken; ++i) taken = events.put(more, [](auto&, auto&) {});
  EXPECT_FALSE(taken);
}

}  // namespace
}  // namespace jailrun::agent
