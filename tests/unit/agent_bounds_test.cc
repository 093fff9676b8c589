// What a model, its server, or whoever stands between, may say: anything. A thousand mutated and
// malformed replies, by real sockets, in each of the three protocols, to the real loop with its
// real tools; only the jail is a stand-in that runs nothing. Each conversation ends in an answer,
// in a bound that says which, or in an Error that names its object.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "agent/agents/analyst.h"
#include "agent/llm/protocol.h"
#include "agent/llm/server_model.h"
#include "tests/unit/agent_server.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Random = std::mt19937;

constexpr unsigned kSeed = 4711;
constexpr int kConversations = 1002, kReplies = 6;

class NoJail : public Interpreter {
 public:
  Expected<JailResult> run(const std::string& code, const std::string&, Deadline) override {
    JailResult result;
    result.verdict = code.size() % 3 == 0 ? "nonzero_exit" : "ok";
    result.out = code;
    return result;
  }
  bool lasting() const override { return true; }
  Expected<std::uint32_t> save() override { return ++states_; }
  Expected<void> rollback(std::uint32_t state) override {
    if (state <= states_) return {};
    return std::unexpected(Error{Stage::None, "state", 0, "no state", "save one"});
  }

 private:
  std::uint32_t states_ = 0;
};

struct Wire {
  const Protocol* protocol;
  // A whole reply with one call, one that answers, and a stream of a call.
  std::string call, answer, stream;
};

std::string code_call() { return json{{"code", "print(1)"}}.dump(); }

std::vector<Wire> wires() {
  const json chat_call = {
      {"choices",
       {{{"message",
          {{"role", "assistant"},
           {"content", nullptr},
           {"tool_calls",
            {{{"id", "c1"},
              {"type", "function"},
              {"function", {{"name", "run_python"}, {"arguments", code_call()}}}}}}}},
         {"finish_reason", "tool_calls"}}}},
      {"usage", {{"prompt_tokens", 9}, {"completion_tokens", 1}}}};
  const json chat_answer = {
      {"choices",
       {{{"message", {{"role", "assistant"}, {"content", "42"}}}, {"finish_reason", "stop"}}}}};
  const json messages_call = {{"type", "message"},
                              {"role", "assistant"},
                              {"content",
                               {{{"type", "text"}, {"text", "so"}},
                                {{"type", "tool_use"},
                                 {"id", "t"},
                                 {"name", "run_python"},
                                 {"input", {{"code", "print(1)"}}}}}},
                              {"stop_reason", "tool_use"},
                              {"usage", {{"input_tokens", 9}, {"output_tokens", 1}}}};
  const json messages_answer = {{"type", "message"},
                                {"role", "assistant"},
                                {"content", {{{"type", "text"}, {"text", "42"}}}},
                                {"stop_reason", "end_turn"}};
  const json responses_call = {{"status", "completed"},
                               {"output",
                                {{{"type", "function_call"},
                                  {"call_id", "f"},
                                  {"name", "run_sql"},
                                  {"arguments", json{{"query", "select 1"}}.dump()}}}},
                               {"usage", {{"input_tokens", 9}, {"output_tokens", 1}}}};
  const json responses_answer = {{"status", "completed"},
                                 {"output",
                                  {{{"type", "message"},
                                    {"role", "assistant"},
                                    {"content", {{{"type", "output_text"}, {"text", "42"}}}}}}}};
  const auto event = [](const std::string& name, const json& data) {
    return (name.empty() ? "" : "event: " + name + "\n") + "data: " + data.dump() + "\n\n";
  };
  const auto chat_piece = [&](const json& delta) {
    return event("", {{"choices", {{{"index", 0}, {"delta", delta}}}}});
  };
  const std::string chat_stream =
      chat_piece({{"role", "assistant"}, {"content", "4"}}) +
      chat_piece({{"tool_calls",
                   {{{"index", 0},
                     {"id", "c"},
                     {"function", {{"name", "run_python"}, {"arguments", "{\"code\":"}}}}}}}) +
      chat_piece({{"tool_calls", {{{"index", 0}, {"function", {{"arguments", "\"1\"}"}}}}}}}) +
      event("", {{"choices",
                  {{{"index", 0}, {"delta", json::object()}, {"finish_reason", "tool_calls"}}}}}) +
      "data: [DONE]\n\n";
  const std::string messages_stream =
      event("message_start",
            {{"type", "message_start"},
             {"message", {{"role", "assistant"}, {"usage", {{"input_tokens", 1}}}}}}) +
      event("content_block_start", {{"type", "content_block_start"},
                                    {"index", 0},
                                    {"content_block", {{"type", "text"}, {"text", ""}}}}) +
      event("content_block_delta", {{"type", "content_block_delta"},
                                    {"index", 0},
                                    {"delta", {{"type", "text_delta"}, {"text", "42"}}}}) +
      event("content_block_stop", {{"type", "content_block_stop"}, {"index", 0}}) +
      event("message_delta", {{"type", "message_delta"},
                              {"delta", {{"stop_reason", "end_turn"}}},
                              {"usage", {{"output_tokens", 1}}}}) +
      event("message_stop", {{"type", "message_stop"}});
  const std::string responses_stream =
      event("response.output_text.delta",
            {{"type", "response.output_text.delta"}, {"delta", "42"}}) +
      event("response.completed", {{"type", "response.completed"}, {"response", responses_answer}});
  return {{&kChatCompletions, chat_call.dump(), chat_answer.dump(), chat_stream},
          {&kMessages, messages_call.dump(), messages_answer.dump(), messages_stream},
          {&kResponses, responses_call.dump(), responses_answer.dump(), responses_stream}};
}

// Bytes of somewhere, turned, cut, doubled, or replaced by what parsers dislike.
std::string mutated(std::string text, Random& random) {
  static const char* const kNasty[] = {"null",
                                       "[]",
                                       "{}",
                                       "-1",
                                       "1e999",
                                       "\"\\ud800\"",
                                       "18446744073709551616",
                                       "\xff\xfe",
                                       "\"run_python\"",
                                       "\"finish\"",
                                       "\"branch\"",
                                       "{\"answer\":\"x\"}",
                                       "\\u0000",
                                       "data: ",
                                       "\n\n",
                                       "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
                                       "\"arguments\":{}",
                                       "\"rollback\"",
                                       "\"query_plan\"",
                                       "true"};
  const auto times = 1 + random() % 4;
  for (unsigned i = 0; i < times && !text.empty(); ++i) {
    const auto at = random() % text.size();
    const auto size = std::min<std::size_t>(random() % 24, text.size() - at);
    switch (random() % 6) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.erase(at, size);
        break;
      case 2:
        text.insert(at, text.substr(at, size));
        break;
      case 3:
        text.resize(at);
        break;
      case 4:
        text.replace(at, size, kNasty[random() % std::size(kNasty)]);
        break;
      default:
        // A whole value for another one.
        if (const auto colon = text.find(':', at); colon != std::string::npos) {
          const auto end = std::min(text.find_first_of(",}]", colon), text.size());
          text.replace(colon + 1, end - colon - 1, kNasty[random() % std::size(kNasty)]);
        }
    }
  }
  return text;
}

std::string reply_of(const Wire& wire, Random& random) {
  const auto kind = random() % 12;
  if (kind == 0 || kind > 7) return test::http("200 OK", wire.call);
  if (kind == 1) return mutated(test::http("200 OK", wire.call), random);  // the head as well
  if (kind == 2) return test::http("500 Oops", mutated(wire.call, random));
  if (kind == 3) return test::events(mutated(wire.stream, random), random() % 4 != 0);
  if (kind == 4) return test::events(wire.stream);
  if (kind == 5) return test::http("200 OK", mutated(wire.answer, random));
  return test::http("200 OK", mutated(wire.call, random));
}

TEST(Replies, ByTheThousandEndInAnAnswerABoundOrANamedError) {
  std::string pattern = (fs::temp_directory_path() / "bounds-XXXXXX").string();
  const fs::path dir = mkdtemp(pattern.data());
  auto workspace = Workspace::open((dir / "out").string());
  ASSERT_TRUE(workspace);
  const std::vector<Input> inputs;
  std::vector<DataTable> tables(1);
  tables[0].sql_name = "t";
  const auto all = wires();
  int answers = 0, bounds = 0, errors = 0;
  for (int i = 0; i < kConversations; ++i) {
    Random random(kSeed + static_cast<unsigned>(i));
    const Wire& wire = all[static_cast<std::size_t>(i) % all.size()];
    std::vector<std::string> script;
    for (int reply = 0; reply < kReplies; ++reply) script.push_back(reply_of(wire, random));
    test::Server server(std::move(script));
    ModelSettings settings;
    settings.provider = Provider::Compatible;
    settings.protocol = wire.protocol;
    settings.base_url = server.url();
    settings.model = "m";
    settings.limits.attempts = 2;
    settings.limits.attempt = std::chrono::seconds(5);
    settings.limits.silence = std::chrono::seconds(5);
    settings.limits.first_backoff = settings.limits.longest_wait = std::chrono::milliseconds(0);
    const Cancel cancel;
    const auto model = make_server_model(settings, cancel);
    NoJail interpreter;
    Bench bench{interpreter, interpreter, *workspace, inputs, tables, 3};
    Analyst analyst(bench, *model);
    TaskOptions task;
    task.bounds.turns = 4;
    task.bounds.deadline = Clock::now() + std::chrono::seconds(20);
    std::size_t heard = 0;
    if (i % 2 == 0) task.listener.text = [&](std::string_view text) { heard += text.size(); };
    const auto begun = Clock::now();
    const auto outcome = analyst.ask("q", task);
    const auto seconds = std::chrono::duration<double>(Clock::now() - begun).count();
    EXPECT_LT(seconds, 15) << "conversation " << i;
    if (!outcome) {
      ++errors;
      EXPECT_FALSE(outcome.error().message.empty()) << "conversation " << i;
      EXPECT_FALSE(outcome.error().remedy.empty()) << outcome.error().line();
      continue;
    }
    EXPECT_FALSE(outcome->answer.empty()) << "conversation " << i;
    EXPECT_LE(outcome->turns, 4U);
    EXPECT_LE(bench.steps.size(), 3U);
    ++(outcome->answered ? answers : bounds);
  }
  fs::remove_all(dir);
  // All three ends are met, or the mutations are too wild or too tame to show anything.
  EXPECT_GT(answers, kConversations / 20);
  EXPECT_GT(bounds, kConversations / 100);
  EXPECT_GT(errors, kConversations / 20);
  RecordProperty("answers", answers);
  RecordProperty("bounds", bounds);
  RecordProperty("errors", errors);
}

}  // namespace
}  // namespace jailrun::agent
