#include "agent/base/text.h"
#include "agent/jails/failure.h"
#include "agent/tools/bench.h"

namespace jailrun::agent {
namespace {

constexpr std::size_t kCodeLimitBytes = 256 << 10;

constexpr const char* kFresh =
    "Runs a complete Python 3 program in a fresh jail and returns what it printed. The data files "
    "are read-only in /data; nothing is left from earlier runs; there is no network. ";
constexpr const char* kLasting =
    "Runs Python 3 in a session of a jail and returns what it printed and the value of its last "
    "expression. The data files are read-only in /data; variables and files in /work stay for "
    "later runs; a run that fails is undone entirely; there is no network. ";
constexpr const char* kLibraries =
    "pandas, numpy, scipy, statsmodels, scikit-learn, matplotlib, seaborn, plotly, duckdb and "
    "polars are there. Print tables with to_markdown(); save plots as PNG below /work.";

class RunPython : public Tool {
 public:
  RunPython(Bench& bench, const char* name, const char* argument)
      : Tool({name, std::string(bench.interpreter.lasting() ? kLasting : kFresh) + kLibraries,
              strings_schema({{argument, "the program"}})}),
        bench_(bench),
        argument_(argument) {}

  Expected<ToolOutcome> call(const nlohmann::json& arguments, const ToolContext& context) override {
    Step step;
    step.code = clean_code(arguments[argument_].get<std::string>());
    if (step.code.size() > kCodeLimitBytes)
      return misuse("The code is longer than 256 KiB; send less.");
    return run_step(bench_, bench_.interpreter, std::move(step), "python", context);
  }

 private:
  Bench& bench_;
  const char* argument_;
};

}  // namespace

Expected<ToolOutcome> run_step(Bench& bench, Interpreter& where, Step step, const char* what,
                               const ToolContext& context) {
  if (bench.steps.size() >= bench.most_steps)
    return misuse("No run is left. Answer from what you have seen.");
  const auto number = "run " + std::to_string(bench.steps.size() + 1) + ": ";
  step.lasting = where.lasting();
  if (context.progress)
    context.progress(number + what + (step.lasting ? " in the session" : " in a fresh jail"));
  TRY(std::string out_dir, bench.workspace.new_run());
  if (bench.begun) bench.begun(bench.steps.size() + 1, step);
  TRY(step.result, where.run(step.code, out_dir, context.deadline));
  if (context.progress) context.progress(number + printable(step.result.verdict));
  // A failed run's half-made plots would only confuse: they go with its staging directory.
  if (step.result.ok()) {
    TRY(step.files, bench.workspace.keep(out_dir));
  }
  ToolOutcome outcome{feedback(step.result, step.lasting), !step.result.ok(), false};
  bench.steps.push_back(std::move(step));
  if (bench.ended) bench.ended(bench.steps.size(), bench.steps.back());
  return outcome;
}

std::unique_ptr<Tool> make_run_python(Bench& bench) {
  return std::make_unique<RunPython>(bench, "run_python", "code");
}

std::unique_ptr<Tool> make_execute_python_code(Bench& bench) {
  return std::make_unique<RunPython>(bench, "execute_python_code", "python_code");
}

}  // namespace jailrun::agent
