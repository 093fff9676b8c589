// LanguageModel: whoever decides what is run. One interface over each protocol, over a recording,
// and over no model at all. A reply is text, or calls of tools whose results come with the next
// request.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/base/cancel.h"

namespace jailrun::agent {

struct ToolCall {
  std::string id, name;
  std::string arguments;  // JSON as the model wrote it: not checked yet
};

enum class Role { Developer, User, Assistant, Tool };

struct Message {
  Role role = Role::User;
  std::string text;
  std::vector<ToolCall> calls{};  // of an assistant
  std::string call_id{};          // of a tool's result
  bool failed = false;            // of a tool's result
  // Of an assistant: what its protocol wants to see again as it was (signed reasoning), or null.
  nlohmann::json native = nullptr;
};

struct ToolSpec {
  std::string name, description;
  nlohmann::json parameters;  // a JSON schema of an object
};

struct OutputSchema {
  std::string name;
  nlohmann::json schema;
};

struct ModelRequest {
  std::vector<Message> messages;
  std::vector<ToolSpec> tools{};
  std::string reasoning_effort{};        // "low", "medium", "high"; empty: not sent
  std::optional<OutputSchema> output{};  // the reply's text is JSON of this schema
  std::uint64_t max_output_tokens = 0;   // 0: the server's own limit
};

// Tokens, as the server counts them.
struct Usage {
  std::uint64_t input = 0;   // all of the prompt, cached or not
  std::uint64_t cached = 0;  // the part of it that was read from a cache
  std::uint64_t output = 0;  // reasoning included
  std::uint64_t reasoning = 0;

  std::uint64_t total() const { return input + output; }
  Usage& operator+=(const Usage& other);
};

struct ModelReply {
  std::string text;
  std::vector<ToolCall> calls;
  Usage usage;
  bool gave_up = false;             // the text says why there is no answer
  bool cut = false;                 // at a limit of tokens
  nlohmann::json native = nullptr;  // for Message::native
};

// Hears what happens before a reply is whole; each may be empty.
struct Listener {
  std::function<void(std::string_view)> text{};       // a piece; asks the server to stream
  std::function<void()> again{};                      // what came so far is void
  std::function<void(const std::string&)> waiting{};  // why nothing comes at the moment
};

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  // Error: no reply that makes sense before `deadline`, or cancelled. No message holds a key.
  virtual Expected<ModelReply> reply(const ModelRequest& request, Deadline deadline,
                                     const Listener& listener) = 0;
  virtual std::string provider() const = 0;
  virtual std::string model() const = 0;  // empty where no model is asked
  // The conversation has ended. Error: a recording that went on.
  virtual Expected<void> finish() { return {}; }
};

}  // namespace jailrun::agent
