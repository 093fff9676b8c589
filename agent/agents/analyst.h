// The analyst: answers questions about data files by code and SQL that run in jails.
#pragma once

#include "agent/agents/agent.h"
#include "agent/tools/bench.h"

namespace jailrun::agent {

class Analyst : public BaseAgent {
 public:
  // `bench` and `model` must outlive it. `custom` joins the built-in tools.
  Analyst(Bench& bench, LanguageModel& model, std::string reasoning_effort = {},
          std::optional<Prices> prices = {}, std::vector<std::unique_ptr<Tool>> custom = {});

  void setup_tools(ToolTable& tools) override;
  // The first question of a conversation tells of the data as well. `past`: questions and answers
  // of before, beginning with a question; for the first question only.
  Expected<Outcome> ask(const std::string& question, const TaskOptions& options,
                        std::vector<Message> past = {});

 private:
  Bench& bench_;
  std::vector<std::unique_ptr<Tool>> custom_;
  bool asked_ = false;
};

}  // namespace jailrun::agent
