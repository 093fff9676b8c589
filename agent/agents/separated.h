// Two agents with separated powers: one reads host files and runs nothing, the other runs code and
// reads no host file but those it was handed. Each has one tool, and nothing else to reach for.
#pragma once

#include "agent/agents/agent.h"
#include "agent/tools/bench.h"

namespace jailrun::agent {

class FileAccessAgent : public BaseAgent {
 public:
  // CSV files below `root`; those it read are in handed().
  FileAccessAgent(LanguageModel& model, std::string root, std::string reasoning_effort = "high");
  void setup_tools(ToolTable& tools) override;
  const std::vector<Input>& handed() const { return handed_; }

 private:
  std::string root_;
  std::vector<Input> handed_;
};

class PythonExecAgent : public BaseAgent {
 public:
  PythonExecAgent(LanguageModel& model, Bench& bench, std::string reasoning_effort = "high");
  void setup_tools(ToolTable& tools) override;

 private:
  Bench& bench_;
};

}  // namespace jailrun::agent
