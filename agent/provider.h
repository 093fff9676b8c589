// Provider: whoever writes the code. One question, any number of turns; a reply is text, or calls
// of tools whose results come with the next turn.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "agent/data.h"

namespace jailrun::agent {

struct ToolCall {
  std::string id, name;
  std::string arguments;  // JSON as the model wrote it: not checked yet
};

enum class Role { System, User, Assistant, Tool };

struct Message {
  Role role = Role::User;
  std::string text;
  std::vector<ToolCall> calls;  // of an assistant
  std::string call_id;          // of a tool's result
  bool failed = false;          // of a tool's result
};

struct ToolSpec {
  std::string name, description;
  nlohmann::json parameters;  // a JSON schema
};

struct Conversation {
  std::string question;
  std::vector<DataTable> tables;
  std::vector<Message> messages;
  std::vector<ToolSpec> tools;
};

struct Reply {
  std::string text;
  std::vector<ToolCall> calls;
  std::uint64_t tokens = 0;  // prompt and completion, as the provider counts
  bool gave_up = false;      // the text says why there is no answer
};

class Provider {
 public:
  virtual ~Provider() = default;
  virtual Expected<Reply> reply(const Conversation& conversation, Deadline deadline) = 0;
  virtual std::string name() const = 0;
  virtual std::string model() const = 0;  // empty where no model is asked
};

}  // namespace jailrun::agent
