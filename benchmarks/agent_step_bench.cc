// What a step of an agent costs besides the model and the guest: the request is made and written as
// JSON, the reply read, its call checked and made, the result put into words and into the
// conversation. The model answers in process, the interpreter returns at once.
//
//   build/bench/benchmarks/agent_step_bench --benchmark_repetitions=5      needs no privilege
//
// Counter `step`: of one step, in a conversation of so many (argument), over data of 40 columns.
// `record`: beginning and ending the run in the record, on this disk, once a question.
#include <benchmark/benchmark.h>

#include <filesystem>

#include "agent/agents/analyst.h"
#include "agent/llm/json.h"
#include "agent/llm/protocol.h"
#include "agent/record/record.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// So many calls of run_python, then an answer.
class Scripted : public LanguageModel {
 public:
  explicit Scripted(std::size_t calls) : calls_(calls) {}
  Expected<ModelReply> reply(const ModelRequest& request, Deadline, const Listener&) override {
    const auto sent = dump_json(kChatCompletions.request(request, {"m", true, true}));
    benchmark::DoNotOptimize(sent.data());
    const bool last = said_++ == calls_;
    json message = {{"role", "assistant"}, {"content", last ? json("It is 42.") : json()}};
    const auto arguments = json{{"code", "print(df['tip'].mean())"}}.dump();
    if (!last)
      message["tool_calls"] = {{{"id", "c" + std::to_string(said_)},
                                {"type", "function"},
                                {"function", {{"name", "run_python"}, {"arguments", arguments}}}}};
    const json body = {{"choices", {{{"message", message}, {"finish_reason", "stop"}}}},
                       {"usage", {{"prompt_tokens", 9}, {"completion_tokens", 1}}}};
    return kChatCompletions.parse(parse_json(body.dump()));
  }
  std::string provider() const override { return "scripted"; }
  std::string model() const override { return "m"; }

 private:
  std::size_t calls_, said_ = 0;
};

class AtOnce : public Interpreter {
 public:
  Expected<JailResult> run(const std::string&, const std::string&, Deadline) override {
    JailResult result;
    result.verdict = "ok";
    result.out = std::string(2000, 'x');
    return result;
  }
  bool lasting() const override { return true; }
  Expected<std::uint32_t> save() override { return 1; }
  Expected<void> rollback(std::uint32_t) override { return {}; }
};

std::vector<DataTable> wide_table() {
  DataTable table;
  table.file = "wide.csv";
  table.sql_name = "wide";
  table.rows = 100'000;
  for (int i = 0; i < 40; ++i) {
    DataColumn column;
    column.name = "column_" + std::to_string(i);
    column.dtype = "float64";
    table.columns.push_back(column);
  }
  table.columns_total = table.columns.size();
  return {table};
}

class Place {
 public:
  Place() {
    std::string pattern = (fs::temp_directory_path() / "agent-bench-XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  ~Place() { fs::remove_all(path); }
  fs::path path;
};

void step(benchmark::State& state) {
  const Place place;
  const auto steps = static_cast<std::size_t>(state.range(0));
  const auto tables = wide_table();
  const std::vector<Input> inputs;
  AtOnce interpreter;
  auto workspace = Workspace::open((place.path / "out").string());
  if (!workspace) return state.SkipWithError("no workspace");
  for (auto _ : state) {
    Scripted model(steps);
    Bench bench{interpreter, interpreter, *workspace, inputs, tables, steps};
    Analyst analyst(bench, model);
    TaskOptions task;
    task.bounds.turns = steps + 1;
    const auto outcome = analyst.ask("what is the mean tip?", task);
    if (!outcome || !outcome->answered || bench.steps.size() != steps)
      return state.SkipWithError("no answer");
  }
  state.counters["step"] =
      benchmark::Counter(static_cast<double>(steps), benchmark::Counter::kIsIterationInvariantRate |
                                                         benchmark::Counter::kInvert);
}
BENCHMARK(step)->Arg(1)->Arg(8)->Arg(18)->Unit(benchmark::kMicrosecond)->UseRealTime();

void record(benchmark::State& state) {
  const Place place;
  auto kept = Record::open((place.path / "record.db").string(), {});
  if (!kept) return state.SkipWithError("no record");
  const json capsule = {{"status", "succeeded"}, {"answer", std::string(4000, 'a')}};
  for (auto _ : state) {
    const auto id = kept->begin({"ada", "", "what is the mean tip?"});
    if (!id || !kept->end("ada", *id, {capsule, {}})) return state.SkipWithError("not recorded");
  }
}
BENCHMARK(record)->Unit(benchmark::kMicrosecond)->UseRealTime();

}  // namespace
}  // namespace jailrun::agent

BENCHMARK_MAIN();
