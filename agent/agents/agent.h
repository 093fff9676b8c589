// An agent: a model, a table of tools, and the loop between them: ask, run what is asked for, feed
// back, until there is an answer or a bound is met.
#pragma once

#include "agent/llm/settings.h"
#include "agent/tools/tool.h"

namespace jailrun::agent {

struct Bounds {
  std::size_t turns = 18;          // replies of the model
  std::uint64_t tokens = 400'000;  // prompts and completions together
  double cost_usd = 0;             // 0: none; counts only where the prices are known
  Deadline deadline = Deadline::max();
};

struct TaskOptions {
  bool tool_calls = true;                   // false: the model is offered no tool
  bool return_tool_response_as_is = false;  // what the tools of a turn said is the answer
  Bounds bounds{};
  Listener listener{};
  std::function<void(const std::string&)> progress{};
};

struct Outcome {
  bool answered = false;
  std::string answer;  // or why there is none
  Usage usage;
  std::optional<double> cost_usd;
  std::size_t turns = 0;
};

struct AgentSettings {
  std::string name, developer_prompt;
  std::string reasoning_effort{};
  std::optional<Prices> prices{};
};

class BaseAgent {
 public:
  // `model` must outlive it.
  BaseAgent(AgentSettings settings, LanguageModel& model);
  virtual ~BaseAgent() = default;
  BaseAgent(const BaseAgent&) = delete;
  BaseAgent& operator=(const BaseAgent&) = delete;

  // What it can do: called once, before the first task.
  virtual void setup_tools(ToolTable& tools) = 0;

  // Something the model shall know; it is data, and said so.
  void add_context(const std::string& text);
  // What was said before, of an earlier conversation.
  void recall(const std::vector<Message>& past);
  // One task, in the conversation so far. Error: ours (a model that cannot be reached, no jail,
  // cancelled); a task that nobody could do is an Outcome.
  Expected<Outcome> task(const std::string& user_task, const TaskOptions& options = {});

  const std::vector<Message>& messages() const { return messages_; }
  const ToolTable& tools();
  // Name, model and tools in one line.
  std::string signature();

 private:
  Expected<bool> run_calls(const ModelReply& reply, const TaskOptions& options, Outcome& outcome);
  std::optional<std::string> bound_met(const TaskOptions& options, const Outcome& outcome) const;

  AgentSettings settings_;
  LanguageModel& model_;
  ToolTable tools_;
  bool set_up_ = false;
  std::vector<Message> messages_;
};

}  // namespace jailrun::agent
