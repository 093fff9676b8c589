#include "agent/chat_completions.h"

#include <algorithm>
#include <cstdlib>

#include "agent/text.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
constexpr std::string_view kOfficial = "https://api.openai.com/v1";
constexpr std::string_view kOfficialModel = "gpt-4.1-mini";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

Error chat_error(std::string message, std::string remedy) {
  return Error{Stage::None, "model", 0, std::move(message), std::move(remedy)};
}

const char* role_name(Role role) {
  switch (role) {
    case Role::System:
      return "system";
    case Role::User:
      return "user";
    case Role::Assistant:
      return "assistant";
    case Role::Tool:
      return "tool";
  }
  return "user";
}

json message_json(const Message& message) {
  json out = {{"role", role_name(message.role)}, {"content", message.text}};
  if (message.role == Role::Tool) out["tool_call_id"] = message.call_id;
  if (message.calls.empty()) return out;
  if (message.text.empty()) out["content"] = nullptr;
  for (const auto& call : message.calls)
    out["tool_calls"].push_back(
        {{"id", call.id},
         {"type", "function"},
         {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
  return out;
}

const json* member(const json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  auto found = object.find(name);
  return found != object.end() ? &*found : nullptr;
}

std::string text_of(const json& object, const char* name) {
  const json* found = member(object, name);
  return found != nullptr && found->is_string() ? found->get<std::string>() : "";
}

// Some servers send content as a list of parts.
std::string content_of(const json& message) {
  const json* content = member(message, "content");
  if (content == nullptr) return "";
  if (content->is_string()) return content->get<std::string>();
  std::string out;
  if (content->is_array())
    for (const json& part : *content) out += text_of(part, "text");
  return out;
}

ToolCall read_call(const json& from, std::size_t index) {
  ToolCall call;
  call.id = text_of(from, "id");
  if (call.id.empty()) call.id = "call_" + std::to_string(index);
  if (const json* function = member(from, "function")) {
    call.name = text_of(*function, "name");
    const json* arguments = member(*function, "arguments");
    if (arguments != nullptr)  // an object instead of its text is a common slip of small servers
      call.arguments = arguments->is_string()
                           ? arguments->get<std::string>()
                           : arguments->dump(-1, ' ', false, json::error_handler_t::replace);
  }
  return call;
}

// What a server says of a refused request, in one line, without the key should it be repeated
// there.
std::string refusal(const HttpReply& reply, const std::string& key) {
  json body = json::parse(reply.body, nullptr, false);
  std::string said;
  if (const json* error = member(body, "error"))
    said = error->is_string() ? error->get<std::string>() : text_of(*error, "message");
  said = printable(said);
  for (std::size_t at = 0; !key.empty() && (at = said.find(key, at)) != std::string::npos; at += 5)
    said.replace(at, key.size(), "[key]");
  std::replace(said.begin(), said.end(), '\n', ' ');
  if (said.size() > 300) said = said.substr(0, 300);
  return printable(said);
}

Error status_error(const std::string& url, const HttpReply& reply, const std::string& key) {
  std::string said = refusal(reply, key);
  std::string message = url + " answered " + std::to_string(reply.status);
  if (!said.empty()) message += ": " + said;
  const char* remedy = "check OPENAI_BASE_URL and OPENAI_MODEL";
  if (reply.status == 401 || reply.status == 403) remedy = "check OPENAI_API_KEY";
  if (reply.status == 404)
    remedy = "check OPENAI_BASE_URL (it usually ends in /v1) and OPENAI_MODEL";
  if (reply.status == 429) remedy = "wait, or check the quota of the account";
  if (reply.status >= 300 && reply.status < 400)
    remedy = "redirects are not followed; name the final address";
  if (reply.status >= 500) remedy = "try again later";
  return chat_error(std::move(message), remedy);
}

class ChatProvider : public Provider {
 public:
  ChatProvider(ChatSettings settings, const Cancel& cancel)
      : settings_(std::move(settings)), cancel_(cancel) {}

  Expected<Reply> reply(const Conversation& conversation, Deadline deadline) override {
    std::vector<std::string> headers;
    if (!settings_.key.empty()) headers.push_back("Authorization: Bearer " + settings_.key);
    auto url = settings_.base_url + "/chat/completions";
    auto body = chat_request(settings_.model, conversation)
                    .dump(-1, ' ', false, json::error_handler_t::replace);
    TRY(HttpReply reply, post_json(url, headers, body, settings_.limits, deadline, cancel_));
    if (reply.status != 200) return std::unexpected(status_error(url, reply, settings_.key));
    return parse_chat_reply(reply.body);
  }

  std::string name() const override { return "openai"; }
  std::string model() const override { return settings_.model; }

 private:
  ChatSettings settings_;
  const Cancel& cancel_;
};

}  // namespace

Expected<ChatSettings> chat_settings(const std::string& model) {
  ChatSettings settings;
  settings.key = environment("OPENAI_API_KEY");
  if (auto url = environment("OPENAI_BASE_URL"); !url.empty()) settings.base_url = url;
  settings.model = model.empty() ? environment("OPENAI_MODEL") : model;
  while (settings.base_url.ends_with('/')) settings.base_url.pop_back();

  // Anything else in a header line could add a header of its own.
  bool plain = std::all_of(settings.key.begin(), settings.key.end(),
                           [](char c) { return c > ' ' && c < '\x7f'; });
  if (!plain)
    return std::unexpected(
        chat_error("OPENAI_API_KEY holds a space, a line break or a letter outside of ASCII",
                   "set it to the key alone"));
  if (!settings.base_url.starts_with("https://") && !settings.base_url.starts_with("http://"))
    return std::unexpected(chat_error("OPENAI_BASE_URL is not an http or https address",
                                      "set it to one, such as " + std::string(kOfficial)));
  bool official = settings.base_url == kOfficial;
  if (official && settings.key.empty())
    return std::unexpected(chat_error("no model can be asked: OPENAI_API_KEY is not set",
                                      "set it, or use --provider offline"));
  if (settings.model.empty() && official) settings.model = kOfficialModel;
  if (settings.model.empty())
    return std::unexpected(chat_error("no model is named for " + settings.base_url,
                                      "set OPENAI_MODEL or use --model"));
  return settings;
}

std::unique_ptr<Provider> make_chat_provider(ChatSettings settings, const Cancel& cancel) {
  return std::make_unique<ChatProvider>(std::move(settings), cancel);
}

json chat_request(const std::string& model, const Conversation& conversation) {
  json request = {{"model", model}, {"messages", json::array()}};
  for (const auto& message : conversation.messages)
    request["messages"].push_back(message_json(message));
  for (const auto& tool : conversation.tools)
    request["tools"].push_back({{"type", "function"},
                                {"function",
                                 {{"name", tool.name},
                                  {"description", tool.description},
                                  {"parameters", tool.parameters}}}});
  if (!conversation.tools.empty()) request["tool_choice"] = "auto";
  return request;
}

Expected<Reply> parse_chat_reply(std::string_view body) {
  static constexpr const char* kRemedy = "check that OPENAI_BASE_URL speaks Chat Completions";
  json top = too_deep(body) ? json() : json::parse(body, nullptr, false);
  if (!top.is_object())
    return std::unexpected(chat_error("the model's reply is not a JSON object", kRemedy));
  const json* choices = member(top, "choices");
  if (choices == nullptr || !choices->is_array() || choices->empty())
    return std::unexpected(chat_error("the model's reply has no choices", kRemedy));
  const json* message = member((*choices)[0], "message");
  if (message == nullptr || !message->is_object())
    return std::unexpected(chat_error("the model's reply has no message", kRemedy));

  Reply reply;
  reply.text = content_of(*message);
  if (const json* calls = member(*message, "tool_calls"); calls != nullptr && calls->is_array())
    for (const json& call : *calls) reply.calls.push_back(read_call(call, reply.calls.size()));
  if (const json* usage = member(top, "usage"))
    if (const json* total = member(*usage, "total_tokens");
        total != nullptr && total->is_number_unsigned())
      reply.tokens = total->get<std::uint64_t>();
  if (reply.text.empty() && reply.calls.empty()) {
    reply.text = text_of(*message, "refusal");
    if (reply.text.empty())
      return std::unexpected(chat_error("the model's reply is empty", "ask again"));
    reply.gave_up = true;
  }
  return reply;
}

}  // namespace jailrun::agent
