// OpenAI's Chat Completions, as OpenAI and most servers of models speak it.
#include "agent/llm/json.h"
#include "agent/llm/protocol.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
constexpr const char* kRemedy = "check that the address speaks Chat Completions";

// "developer" is OpenAI's newer name; other servers know "system" only.
const char* role_name(Role role, bool official) {
  switch (role) {
    case Role::Developer:
      return official ? "developer" : "system";
    case Role::User:
      return "user";
    case Role::Assistant:
      return "assistant";
    case Role::Tool:
      return "tool";
  }
  return "user";
}

json message_json(const Message& message, bool official) {
  json out = {{"role", role_name(message.role, official)}, {"content", message.text}};
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

json request_json(const ModelRequest& request, const RequestOptions& options) {
  json out = {{"model", options.model}, {"messages", json::array()}};
  for (const auto& message : request.messages)
    out["messages"].push_back(message_json(message, options.official));
  for (const auto& tool : request.tools)
    out["tools"].push_back({{"type", "function"},
                            {"function",
                             {{"name", tool.name},
                              {"description", tool.description},
                              {"parameters", tool.parameters}}}});
  if (!request.tools.empty()) out["tool_choice"] = "auto";
  if (!request.reasoning_effort.empty()) out["reasoning_effort"] = request.reasoning_effort;
  if (request.output)
    out["response_format"] = {
        {"type", "json_schema"},
        {"json_schema",
         {{"name", request.output->name}, {"schema", request.output->schema}, {"strict", true}}}};
  if (request.max_output_tokens > 0)
    out[options.official ? "max_completion_tokens" : "max_tokens"] = request.max_output_tokens;
  if (options.stream) {
    out["stream"] = true;
    out["stream_options"] = {{"include_usage", true}};
  }
  return out;
}

std::vector<std::string> headers(const std::string& key) {
  if (key.empty()) return {};
  return {"Authorization: Bearer " + key};
}

// Some servers send content as a list of parts.
std::string content_of(const json& message) {
  const json* content = member(message, "content");
  if (content == nullptr) return "";
  if (content->is_string()) return content->get<std::string>();
  std::string out;
  if (content->is_array())
    for (const json& part : *content) out += text_member(part, "text");
  return out;
}

ToolCall read_call(const json& from, std::size_t index) {
  ToolCall call;
  call.id = text_member(from, "id");
  if (call.id.empty()) call.id = "call_" + std::to_string(index);
  if (const json* function = member(from, "function")) {
    call.name = text_member(*function, "name");
    const json* arguments = member(*function, "arguments");
    if (arguments != nullptr)  // an object instead of its text is a common slip of small servers
      call.arguments =
          arguments->is_string() ? arguments->get<std::string>() : dump_json(*arguments);
  }
  return call;
}

Usage read_usage(const json& top) {
  Usage usage;
  const json* from = member(top, "usage");
  if (from == nullptr) return usage;
  usage.input = count_member(*from, "prompt_tokens");
  usage.output = count_member(*from, "completion_tokens");
  if (const json* more = member(*from, "prompt_tokens_details"))
    usage.cached = count_member(*more, "cached_tokens");
  if (const json* more = member(*from, "completion_tokens_details"))
    usage.reasoning = count_member(*more, "reasoning_tokens");
  // Some servers tell the sum alone.
  if (usage.total() == 0) usage.input = count_member(*from, "total_tokens");
  return usage;
}

Expected<ModelReply> parse(const json& top) {
  if (!top.is_object())
    return std::unexpected(reply_error("the model's reply is not a JSON object", kRemedy));
  const json& choices = list_member(top, "choices");
  if (choices.empty())
    return std::unexpected(reply_error("the model's reply has no choices", kRemedy));
  const json* message = member(choices[0], "message");
  if (message == nullptr || !message->is_object())
    return std::unexpected(reply_error("the model's reply has no message", kRemedy));

  ModelReply reply;
  reply.text = content_of(*message);
  for (const json& call : list_member(*message, "tool_calls"))
    if (reply.calls.size() < kMostParts) reply.calls.push_back(read_call(call, reply.calls.size()));
  reply.usage = read_usage(top);
  reply.cut = text_member(choices[0], "finish_reason") == "length";
  if (reply.text.empty() && reply.calls.empty()) {
    reply.text = text_member(*message, "refusal");
    reply.gave_up = !reply.text.empty();
    if (!reply.gave_up && !reply.cut)
      return std::unexpected(reply_error("the model's reply is empty", "ask again"));
  }
  return reply;
}

class ChatAssembler : public Assembler {
 public:
  std::string add(const std::string&, const json& data) override {
    if (data.contains("error")) fault_ = told_error(data);
    if (const json* usage = member(data, "usage"); usage != nullptr && usage->is_object())
      usage_ = *usage;
    const json& choices = list_member(data, "choices");
    if (choices.empty()) return "";
    if (auto reason = text_member(choices[0], "finish_reason"); !reason.empty()) reason_ = reason;
    const json* delta = member(choices[0], "delta");
    if (delta == nullptr) return "";
    for (const json& part : list_member(*delta, "tool_calls")) add_call(part);
    refusal_ += text_member(*delta, "refusal");
    auto text = content_of(*delta);
    text_ += text;
    return text;
  }
  void end() override { ended_ = true; }
  bool whole() const override { return ended_; }
  std::string fault() const override { return fault_; }
  json take() override {
    json message = {{"role", "assistant"}, {"content", text_}};
    if (!refusal_.empty()) message["refusal"] = refusal_;
    if (!calls_.empty()) message["tool_calls"] = calls_;
    return {{"choices", json::array({{{"message", message}, {"finish_reason", reason_}}})},
            {"usage", usage_}};
  }

 private:
  // Pieces of a call bear its index; some servers leave it out, or give all calls the same.
  void add_call(const json& part) {
    const auto id = text_member(part, "id");
    const json* index = member(part, "index");
    std::size_t at = index != nullptr && index->is_number_unsigned() ? index->get<std::size_t>()
                     : calls_.empty()                                ? 0
                                                                     : calls_.size() - 1;
    if (at < calls_.size() && !id.empty() && !text_member(calls_[at], "id").empty() &&
        calls_[at]["id"] != id)
      at = calls_.size();
    if (at > calls_.size() || at >= kMostParts) return;
    if (at == calls_.size())
      calls_.push_back({{"id", ""}, {"function", {{"name", ""}, {"arguments", ""}}}});
    json& call = calls_[at];
    if (!id.empty()) call["id"] = id;
    const json* function = member(part, "function");
    if (function == nullptr) return;
    json& made = call["function"];
    if (auto name = text_member(*function, "name"); !name.empty()) made["name"] = name;
    const json* arguments = member(*function, "arguments");
    if (arguments == nullptr || arguments->is_null()) return;
    made["arguments"].get_ref<std::string&>() +=
        arguments->is_string() ? arguments->get<std::string>() : dump_json(*arguments);
  }

  std::string text_, refusal_, reason_, fault_;
  json calls_ = json::array(), usage_;
  bool ended_ = false;
};

std::unique_ptr<Assembler> assemble() { return std::make_unique<ChatAssembler>(); }

}  // namespace

const Protocol kChatCompletions = {
    "Chat Completions", "/chat/completions", headers, request_json, parse, assemble};

}  // namespace jailrun::agent
