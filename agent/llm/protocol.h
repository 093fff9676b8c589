// A protocol of models, as values: what is sent, what is made of what comes back, and how a
// streamed reply becomes the one that the server would have sent whole. Nothing here does I/O.
#pragma once

#include <memory>

#include "agent/llm/model.h"

namespace jailrun::agent {

struct RequestOptions {
  std::string model;
  bool stream = false;
  bool official = false;  // the address is that of the protocol's own maker
};

// Puts a streamed reply together.
class Assembler {
 public:
  virtual ~Assembler() = default;
  // One event, `data` being an object. Returns the text that it adds for a reader.
  virtual std::string add(const std::string& event, const nlohmann::json& data) = 0;
  // The mark that some protocols end with, which is not JSON.
  virtual void end() {}
  virtual bool whole() const = 0;
  // What the server says went wrong in the middle; empty where nothing did.
  virtual std::string fault() const { return ""; }
  virtual nlohmann::json take() = 0;
};

struct Protocol {
  std::string_view name;
  std::string_view path;                                        // appended to the base URL
  std::vector<std::string> (*headers)(const std::string& key);  // key may be empty
  nlohmann::json (*request)(const ModelRequest& request, const RequestOptions& options);
  // Error: it makes no sense as a reply.
  Expected<ModelReply> (*parse)(const nlohmann::json& body);
  std::unique_ptr<Assembler> (*assemble)();
};

extern const Protocol kChatCompletions;  // OpenAI, and most servers of models
extern const Protocol kResponses;        // OpenAI
extern const Protocol kMessages;         // Anthropic

// More than any honest reply has, of calls, blocks or items.
inline constexpr std::size_t kMostParts = 256;

Error reply_error(std::string message, std::string remedy);
// Of an error object, or of a body that holds one: type and message; empty where there is none.
std::string told_error(const nlohmann::json& error);

}  // namespace jailrun::agent
