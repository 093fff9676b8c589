#include "agent/llm/protocol.h"

#include "agent/llm/json.h"

namespace jailrun::agent {

Usage& Usage::operator+=(const Usage& other) {
  input += other.input;
  cached += other.cached;
  output += other.output;
  reasoning += other.reasoning;
  return *this;
}

Error reply_error(std::string message, std::string remedy) {
  return Error{Stage::None, "model", 0, std::move(message), std::move(remedy)};
}

std::string told_error(const nlohmann::json& error) {
  if (error.is_string()) return error.get<std::string>();
  if (const auto* inner = member(error, "error")) return told_error(*inner);
  auto said = text_member(error, "message");
  return said.empty() ? text_member(error, "type") : said;
}

}  // namespace jailrun::agent
