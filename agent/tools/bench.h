// Bench: what the tools that run code share: the interpreter, what is known of the data, and the
// list of what has been run.
#pragma once

#include "agent/data/data.h"
#include "agent/jails/interpreter.h"
#include "agent/jails/workspace.h"
#include "agent/tools/tool.h"

namespace jailrun::agent {

struct Step {
  std::string code;   // Python as it ran
  std::string sql{};  // what it was made for, if it was
  JailResult result{};
  std::vector<SavedFile> files{};
  bool lasting = false;  // in the session
};

// A state saved, or brought back, by the model.
struct Move {
  std::size_t after = 0;  // so many steps
  bool back = false;
  std::uint32_t state = 0;  // its number, from 1
};

struct Bench {
  Interpreter& interpreter;
  Interpreter& fresh;  // for SQL, which shares nothing with the session; may be the same
  Workspace& workspace;
  const std::vector<Input>& inputs;
  const std::vector<DataTable>& tables;
  std::size_t most_steps;
  std::vector<Step> steps{};
  std::vector<Move> moves{};
  std::string about{};  // what a model should know of the data besides its tables
  // Told of each step before and after it runs, with its number from 1; may be empty.
  std::function<void(std::size_t, const Step&)> begun{}, ended{};
};

// Runs one step in `where` and keeps its files. `what` is said in progress: "python", "sql".
Expected<ToolOutcome> run_step(Bench& bench, Interpreter& where, Step step, const char* what,
                               const ToolContext& context);

std::unique_ptr<Tool> make_run_python(Bench& bench);
// The same by the name and with the argument of another product: {"python_code": …}.
std::unique_ptr<Tool> make_execute_python_code(Bench& bench);
std::unique_ptr<Tool> make_run_sql(Bench& bench);
std::unique_ptr<Tool> make_query_plan(Bench& bench);
std::unique_ptr<Tool> make_list_files(const Bench& bench);
std::unique_ptr<Tool> make_describe_data(const Bench& bench);
std::unique_ptr<Tool> make_branch(Bench& bench);
std::unique_ptr<Tool> make_rollback(Bench& bench);
std::unique_ptr<Tool> make_finish();

}  // namespace jailrun::agent
