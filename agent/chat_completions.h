// The Chat Completions protocol, as spoken by OpenAI and by most servers of models.
#pragma once

#include <memory>
#include <string>

#include "agent/http.h"
#include "agent/provider.h"

namespace jailrun::agent {

struct ChatSettings {
  std::string base_url = "https://api.openai.com/v1";
  std::string model;
  std::string key;  // empty for servers that want none; never logged, never part of a message
  HttpLimits limits;
};

// From the environment (OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_MODEL); `model` and a set variable
// win over defaults. Error: a key that cannot be a header, a URL that is not http(s), no model
// named for a server that is not OpenAI's.
Expected<ChatSettings> chat_settings(const std::string& model);

std::unique_ptr<Provider> make_chat_provider(ChatSettings settings, const Cancel& cancel);

// The wire format, for tests.
nlohmann::json chat_request(const std::string& model, const Conversation& conversation);
Expected<Reply> parse_chat_reply(std::string_view body);

}  // namespace jailrun::agent
