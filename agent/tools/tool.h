// A tool: name, JSON schema, function; and the table of those that an agent has. What is not in
// its table, an agent cannot do: that is the whole of the separation between agents.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent/llm/model.h"

namespace jailrun::agent {

struct ToolOutcome {
  std::string text{};  // goes back to the model
  bool failed = false;
  bool finishes = false;  // the text is the answer
};

// The model has misused a tool: `text` tells it how.
ToolOutcome misuse(std::string text);

struct ToolContext {
  Deadline deadline = Deadline::max();
  std::function<void(const std::string&)> progress{};  // told what is about to happen
};

class Tool {
 public:
  explicit Tool(ToolSpec spec) : spec_(std::move(spec)) {}
  virtual ~Tool() = default;
  Tool(const Tool&) = delete;
  Tool& operator=(const Tool&) = delete;

  const ToolSpec& spec() const { return spec_; }
  // {"type": "function", "function": {name, description, parameters}}
  nlohmann::json definition() const;
  // `arguments` fit the schema. Error: ours, which ends the conversation; what is the model's fault
  // is an outcome.
  virtual Expected<ToolOutcome> call(const nlohmann::json& arguments,
                                     const ToolContext& context) = 0;

 private:
  ToolSpec spec_;
};

class ToolTable {
 public:
  // Replaces a tool of the same name.
  void add(std::unique_ptr<Tool> tool);
  std::vector<ToolSpec> specs() const;
  nlohmann::json definitions() const;
  bool has(const std::string& name) const { return find(name) != nullptr; }
  // A name or arguments that make no sense are an outcome that tells the model so.
  Expected<ToolOutcome> call(const ToolCall& call, const ToolContext& context) const;

 private:
  Tool* find(const std::string& name) const;

  std::vector<std::unique_ptr<Tool>> tools_;
};

// {"type": "object", …} of members that are strings, all required, and none besides.
struct StringMember {
  const char *name, *description;
};
nlohmann::json strings_schema(const std::vector<StringMember>& members);

// What models wrap around code is taken off: fences of Markdown, NUL.
std::string clean_code(std::string code);

}  // namespace jailrun::agent
