// The loop between a model and its tools, with models that are scripted: what they say is what the
// tests are about.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "agent/agents/analyst.h"
#include "agent/agents/separated.h"
#include "agent/llm/json.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

class ScriptedModel : public LanguageModel {
 public:
  explicit ScriptedModel(std::vector<ModelReply> script) : script_(std::move(script)) {}
  Expected<ModelReply> reply(const ModelRequest& request, Deadline, const Listener&) override {
    requests.push_back(request);
    if (next_ >= script_.size())
      return std::unexpected(Error{Stage::None, "script", 0, "the script has ended", "none"});
    return script_[next_++];
  }
  std::string provider() const override { return "scripted"; }
  std::string model() const override { return "script"; }

  std::vector<ModelRequest> requests;

 private:
  std::vector<ModelReply> script_;
  std::size_t next_ = 0;
};

ModelReply says(const std::string& text) { return {text, {}, {90, 0, 10, 0}}; }
ModelReply calls(std::vector<ToolCall> made) { return {"", std::move(made), {90, 0, 10, 0}}; }
ToolCall python(const std::string& code) {
  return {"c" + code, "run_python", json{{"code", code}}.dump()};
}

// Runs nothing: fails where the code says so. Jails themselves are tested elsewhere.
class Notebook : public Interpreter {
 public:
  explicit Notebook(bool lasting = false) : lasting_(lasting) {}
  Expected<JailResult> run(const std::string& code, const std::string&, Deadline) override {
    ran.push_back(code);
    JailResult result;
    const bool fails = code.find("raise") != std::string::npos;
    result.verdict = fails ? "nonzero_exit" : "ok";
    result.out = fails ? "" : "out of " + code;
    result.err = fails ? "ValueError: no" : "";
    return result;
  }
  bool lasting() const override { return lasting_; }
  Expected<std::uint32_t> save() override { return ++states; }
  Expected<void> rollback(std::uint32_t state) override {
    if (state <= states) return {};
    return std::unexpected(Error{Stage::None, "state", 0, "no state", "save one"});
  }
  std::vector<std::string> ran;
  std::uint32_t states = 0;

 private:
  bool lasting_;
};

class Agents : public testing::Test {
 protected:
  Agents() {
    std::string pattern = (fs::temp_directory_path() / "agent-XXXXXX").string();
    dir = mkdtemp(pattern.data());
    workspace.emplace(*Workspace::open((dir / "out").string()));
  }
  ~Agents() override {
    workspace.reset();
    fs::remove_all(dir);
  }
  Bench bench(Interpreter& interpreter, std::size_t steps = 8) {
    return Bench{interpreter, interpreter, *workspace, inputs, tables, steps};
  }
  fs::path dir;
  std::optional<Workspace> workspace;
  std::vector<Input> inputs;
  std::vector<DataTable> tables;
};

TEST_F(Agents, HandleAllCallsOfATurnOverSeveralTurnsAndRepair) {
  ScriptedModel model({calls({python("raise 1"), python("2")}), calls({python("3")}),
                       calls({python("4"), {"f", "finish", R"({"answer":"It is 4."})"}})});
  Notebook notebook;
  auto shared = bench(notebook);
  Analyst analyst(shared, model);
  const auto outcome = analyst.ask("q", {});
  ASSERT_TRUE(outcome) << outcome.error().line();
  EXPECT_TRUE(outcome->answered);
  EXPECT_EQ(outcome->answer, "It is 4.");
  EXPECT_EQ(outcome->usage.total(), 300U);
  EXPECT_THAT(notebook.ran, ElementsAre("raise 1", "2", "3", "4"));
  const auto& second = model.requests[1].messages;
  ASSERT_EQ(second.size(), 5U) << "developer, user, assistant and a result for each call";
  EXPECT_TRUE(second[3].failed);
  EXPECT_THAT(second[3].text, HasSubstr("ValueError: no"));
  EXPECT_THAT(second[3].text, HasSubstr("What to try"));
  EXPECT_THAT(second[4].text, HasSubstr("out of 2"));
}

TEST_F(Agents, DoNotBelieveAnAnswerThatWasWrittenBesideAFailure) {
  ScriptedModel model(
      {calls({python("raise"), {"f", "finish", R"({"answer":"guess"})"}}), says("I do not know.")});
  Notebook notebook;
  auto shared = bench(notebook);
  Analyst analyst(shared, model);
  EXPECT_EQ(analyst.ask("q", {})->answer, "I do not know.");
}

TEST_F(Agents, HaveTheToolsOfTheirInterpreter) {
  ScriptedModel model({});
  Notebook fresh, session(true);
  auto one = bench(fresh), other = bench(session);
  Analyst analyst(one, model), lasting(other, model);
  EXPECT_FALSE(analyst.tools().has("rollback"));
  EXPECT_TRUE(lasting.tools().has("rollback"));
  EXPECT_EQ(
      lasting.signature(),
      "analyst (scripted script): run_python, run_sql, query_plan, list_files, describe_data, "
      "branch, rollback, finish");
  for (const auto& spec : lasting.tools().specs()) {
    EXPECT_EQ(spec.parameters["type"], "object") << spec.name;
    EXPECT_EQ(spec.parameters["additionalProperties"], false) << spec.name;
    EXPECT_FALSE(spec.description.empty()) << spec.name;
  }
}

TEST_F(Agents, BranchAndGoBack) {
  ScriptedModel model({calls({{"1", "branch", "{}"}}), calls({{"2", "rollback", R"({"state":1})"}}),
                       calls({{"3", "rollback", R"({"state":9})"}}),
                       calls({{"4", "rollback", R"({"state":-1})"}}), says("done")});
  Notebook session(true);
  auto shared = bench(session);
  Analyst analyst(shared, model);
  ASSERT_TRUE(analyst.ask("q", {}));
  const auto& messages = analyst.messages();
  EXPECT_EQ(messages[3].text, "State 1 is saved.");
  EXPECT_EQ(messages[5].text, "State 1 is back.");
  EXPECT_THAT(messages[7].text, HasSubstr("Nothing was changed"));
  EXPECT_THAT(messages[9].text, HasSubstr("at least 0"));
}

TEST_F(Agents, MeetTheirBounds) {
  struct Bound {
    Bounds bounds;
    const char* why;
  };
  for (const auto& [bounds, why] : {Bound{{3, 400'000, 0, Deadline::max()}, "within 3 turns"},
                                    {{18, 250, 0, Deadline::max()}, "bound on tokens"},
                                    {{18, 400'000, 0.0005, Deadline::max()}, "bound on cost"},
                                    {{18, 400'000, 0, Clock::now()}, "Out of time"}}) {
    ScriptedModel model(std::vector<ModelReply>(20, calls({python("1")})));
    Notebook notebook;
    auto shared = bench(notebook);
    Analyst analyst(shared, model, "", Prices{2, 1, 4});
    TaskOptions options;
    options.bounds = bounds;
    const auto outcome = analyst.ask("q", options);
    ASSERT_TRUE(outcome);
    EXPECT_FALSE(outcome->answered);
    EXPECT_THAT(outcome->answer, HasSubstr(why));
    EXPECT_LE(model.requests.size(), 3U) << why;
  }
}

TEST_F(Agents, AreToldWhenNoRunIsLeft) {
  ScriptedModel model({calls({python("1"), python("2")}), says("done")});
  Notebook notebook;
  auto shared = bench(notebook, 1);
  Analyst analyst(shared, model);
  ASSERT_TRUE(analyst.ask("q", {}));
  EXPECT_EQ(notebook.ran.size(), 1U);
  EXPECT_THAT(analyst.messages().at(4).text, HasSubstr("No run is left"));
}

TEST_F(Agents, AreToldOfCodeThatIsTooLong) {
  ScriptedModel model({calls({python(std::string(300 << 10, '#'))}), says("done")});
  Notebook notebook;
  auto shared = bench(notebook);
  Analyst analyst(shared, model);
  ASSERT_TRUE(analyst.ask("q", {}));
  EXPECT_TRUE(notebook.ran.empty());
  EXPECT_THAT(analyst.messages().at(3).text, HasSubstr("longer than 256 KiB"));
}

TEST_F(Agents, GoOnInTheSameConversation) {
  ScriptedModel model({says("3"), says("4")});
  Notebook notebook;
  auto shared = bench(notebook);
  Analyst analyst(shared, model);
  ASSERT_TRUE(analyst.ask("first", {}));
  ASSERT_TRUE(analyst.ask("second", {}));
  const auto& messages = model.requests[1].messages;
  EXPECT_THAT(messages[1].text, HasSubstr("The question: first"));
  EXPECT_EQ(messages[2].text, "3");
  EXPECT_EQ(messages[3].text, "second");
}

// Separated powers: what is not in an agent's table, it cannot do.
TEST_F(Agents, ThatReadHostFilesCannotRunCodeAndTheOtherWayRound) {
  const ToolCall run{"1", "execute_python_code", R"x({"python_code":"print(1)"})x"};
  const ToolCall read{"2", "safe_file_access", R"({"filename":"a.csv"})"};
  ScriptedModel reader({calls({run}), says("no")}), runner({calls({read}), says("no")});
  FileAccessAgent files(reader, dir.string());
  Notebook notebook;
  auto shared = bench(notebook);
  PythonExecAgent code(runner, shared);
  ASSERT_TRUE(files.task("run something"));
  ASSERT_TRUE(code.task("read something"));
  EXPECT_TRUE(notebook.ran.empty());
  EXPECT_TRUE(files.handed().empty());
  EXPECT_THAT(files.messages().at(3).text, HasSubstr("'execute_python_code' is not registered"));
  EXPECT_THAT(code.messages().at(3).text, HasSubstr("'safe_file_access' is not registered"));
  EXPECT_EQ(files.tools().definitions(), json::parse(R"([{"type":"function","function":{
    "name":"safe_file_access","description":"Reads a CSV file of the data directory and gives it to the sandbox. Returns its first 15 rows.",
    "parameters":{"type":"object","properties":{"filename":{"type":"string","description":"name of the CSV file"}},
                  "required":["filename"],"additionalProperties":false}}}])"));
  ASSERT_EQ(code.tools().specs().size(), 1U);
  EXPECT_EQ(code.tools().specs()[0].name, "execute_python_code");
  EXPECT_EQ(reader.requests[0].reasoning_effort, "high");
}

TEST_F(Agents, CanDoTheOtherThingEachWhereItIsTheirs) {
  ScriptedModel runner({calls({{"1", "execute_python_code", R"({"python_code":"1"})"}})});
  Notebook notebook;
  auto shared = bench(notebook);
  PythonExecAgent code(runner, shared);
  TaskOptions options;
  options.return_tool_response_as_is = true;
  const auto outcome = code.task("run it", options);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->answer, "stdout:\nout of 1\n");
}

TEST_F(Agents, WithoutToolsOfferNone) {
  ScriptedModel model({says("hello")});
  FileAccessAgent agent(model, dir.string());
  agent.add_context("The user is called Dave.");
  TaskOptions options;
  options.tool_calls = false;
  ASSERT_TRUE(agent.task("hi", options));
  EXPECT_TRUE(model.requests[0].tools.empty());
  EXPECT_THAT(model.requests[0].messages[1].text, HasSubstr("Dave"));
}

// A thousand replies that make little sense: each conversation ends in an answer or a bound.
TEST_F(Agents, EndWhateverAModelSays) {
  std::uint32_t state = 99;
  auto next = [&] { return state = state * 1664525U + 1013904223U, state >> 8; };
  const std::vector<std::string> names = {"run_python",    "run_sql", "finish", "rollback",
                                          "describe_data", "",        "rm -rf"},
                                 arguments = {"{}",
                                              "",
                                              "{\"code\":\"1\"}",
                                              "{\"code\":7}",
                                              "{\"state\":1e99}",
                                              "{\"answer\":\"\"}",
                                              "[[[[",
                                              "null",
                                              "{\"query\":\"\\u0000\"}",
                                              "{\"file\":\"/data/../etc\"}",
                                              std::string(70, '['),
                                              "\xff\xfe"};
  for (int round = 0; round < 1000; ++round) {
    std::vector<ModelReply> script;
    for (int turn = 0; turn < 5; ++turn) {
      ModelReply reply;
      if (next() % 4 == 0) reply.text = arguments[next() % arguments.size()];
      for (auto n = next() % 12; n > 0; --n)
        reply.calls.push_back({std::string(next() % 3, 'x'), names[next() % names.size()],
                               arguments[next() % arguments.size()]});
      reply.cut = next() % 5 == 0;
      reply.usage = {next() % 1000, 0, next(), 0};
      script.push_back(std::move(reply));
    }
    ScriptedModel model(std::move(script));
    Notebook session(true);
    auto shared = bench(session, 3);
    Analyst analyst(shared, model);
    TaskOptions options;
    options.bounds.turns = 5;
    options.bounds.tokens = ~0ULL;
    const auto outcome = analyst.ask("q", options);
    ASSERT_TRUE(outcome) << outcome.error().line();
    EXPECT_FALSE(outcome->answer.empty());
    EXPECT_LE(session.ran.size(), 3U);
  }
}

}  // namespace
}  // namespace jailrun::agent
