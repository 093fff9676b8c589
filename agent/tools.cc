#include "agent/tools.h"

#include "agent/failure.h"
#include "agent/text.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
constexpr std::size_t kCodeLimitBytes = 256 << 10;

ToolOutcome misuse(std::string text) { return ToolOutcome{std::move(text), true, false}; }

Expected<ToolOutcome> run_python(const json& arguments, Bench& bench) {
  auto code = arguments.find("code");
  if (code == arguments.end() || !code->is_string())
    return misuse("run_python needs {\"code\": \"…\"}, a complete Python program.");
  Step step;
  step.code = code->get<std::string>();
  if (step.code.size() > kCodeLimitBytes)
    return misuse("The code is longer than 256 KiB; send less.");
  if (bench.steps.size() >= bench.most_steps)
    return misuse("No run is left. Answer from what you have seen.");

  bench.progress("run " + std::to_string(bench.steps.size() + 1) + ": python in a fresh jail");
  TRY(std::string out_dir, bench.workspace.new_run());
  TRY(step.result, bench.client.run(step.code, {}, out_dir, bench.deadline));
  bench.progress("run " + std::to_string(bench.steps.size() + 1) + ": " +
                 printable(step.result.verdict));
  // A failed run's half-made plots would only confuse: they go with its staging directory.
  if (step.result.ok()) {
    TRY(step.files, bench.workspace.keep(out_dir));
  }
  ToolOutcome outcome{feedback(step.result), !step.result.ok(), false};
  bench.steps.push_back(std::move(step));
  return outcome;
}

Expected<ToolOutcome> finish(const json& arguments, Bench&) {
  auto answer = arguments.find("answer");
  if (answer == arguments.end() || !answer->is_string() ||
      answer->get_ref<const std::string&>().empty())
    return misuse("finish needs {\"answer\": \"…\"}.");
  return ToolOutcome{answer->get<std::string>(), false, true};
}

json object_schema(const char* name, const char* description) {
  return {{"type", "object"},
          {"properties", {{name, {{"type", "string"}, {"description", description}}}}},
          {"required", json::array({name})},
          {"additionalProperties", false}};
}

}  // namespace

const std::vector<Tool>& tools() {
  static const std::vector<Tool> kTools = {
      {{"run_python",
        "Runs a complete Python 3 program in a fresh jail and returns what it printed. The data "
        "files "
        "are read-only in /data; nothing is left from earlier runs; there is no network. pandas, "
        "numpy, "
        "scipy, statsmodels, scikit-learn, matplotlib, seaborn, plotly, duckdb and polars are "
        "there. "
        "Print tables with to_markdown(); save plots as PNG below /work.",
        object_schema("code", "the program")},
       run_python},
      {{"finish", "Gives the final answer to the user and ends the conversation.",
        object_schema("answer", "the answer in Markdown, with the numbers that support it")},
       finish},
  };
  return kTools;
}

Expected<ToolOutcome> call_tool(const ToolCall& call, Bench& bench) {
  for (const auto& tool : tools()) {
    if (tool.spec.name != call.name) continue;
    json arguments =
        too_deep(call.arguments) ? json() : json::parse(call.arguments, nullptr, false);
    if (!arguments.is_object())
      return misuse("The arguments of " + tool.spec.name +
                    " are not a JSON object; send them again.");
    return tool.call(arguments, bench);
  }
  return misuse("There is no tool " + clip(printable(call.name), 80) +
                "; there are run_python and finish.");
}

}  // namespace jailrun::agent
