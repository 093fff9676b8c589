// The tools a provider may call: name, JSON schema, function.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "agent/provider.h"
#include "agent/workspace.h"

namespace jailrun::agent {

struct Step {
  std::string code;
  JailResult result;
  std::vector<SavedFile> files;
};

struct ToolOutcome {
  std::string text;  // goes back to the provider
  bool failed = false;
  bool finishes = false;  // the text is the answer
};

// What a tool works with. The progress function is told what is about to happen.
struct Bench {
  const JailClient& client;
  Workspace& workspace;
  Deadline deadline;
  std::size_t most_steps;
  std::vector<Step>& steps;
  std::function<void(const std::string&)> progress;
};

struct Tool {
  ToolSpec spec;
  Expected<ToolOutcome> (*call)(const nlohmann::json& arguments, Bench& bench);
};

const std::vector<Tool>& tools();

// Finds and calls; a name or arguments that make no sense are an outcome that tells the provider
// so.
Expected<ToolOutcome> call_tool(const ToolCall& call, Bench& bench);

}  // namespace jailrun::agent
