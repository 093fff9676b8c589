// OpenAI's Responses. Nothing is stored there: reasoning comes back encrypted and is sent again.
#include "agent/llm/json.h"
#include "agent/llm/protocol.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
constexpr const char* kRemedy = "check that the address speaks Responses (OPENAI_API)";

void add_items(const Message& message, json& input) {
  switch (message.role) {
    case Role::Developer:
    case Role::User:
      input.push_back(
          {{"role", message.role == Role::User ? "user" : "developer"}, {"content", message.text}});
      return;
    case Role::Tool:
      input.push_back({{"type", "function_call_output"},
                       {"call_id", message.call_id},
                       {"output", message.text}});
      return;
    case Role::Assistant:
      break;
  }
  if (message.native.is_array()) {
    for (const json& item : message.native) input.push_back(item);
    return;
  }
  if (!message.text.empty()) input.push_back({{"role", "assistant"}, {"content", message.text}});
  for (const auto& call : message.calls)
    input.push_back({{"type", "function_call"},
                     {"call_id", call.id},
                     {"name", call.name},
                     {"arguments", call.arguments}});
}

json request_json(const ModelRequest& request, const RequestOptions& options) {
  json out = {{"model", options.model}, {"input", json::array()}, {"store", false}};
  for (const auto& message : request.messages) add_items(message, out["input"]);
  for (const auto& tool : request.tools)
    out["tools"].push_back({{"type", "function"},
                            {"name", tool.name},
                            {"description", tool.description},
                            {"parameters", tool.parameters},
                            {"strict", false}});
  if (!request.tools.empty()) out["tool_choice"] = "auto";
  if (!request.reasoning_effort.empty()) {
    out["reasoning"] = {{"effort", request.reasoning_effort}};
    out["include"] = json::array({"reasoning.encrypted_content"});
  }
  if (request.output)
    out["text"]["format"] = {{"type", "json_schema"},
                             {"name", request.output->name},
                             {"schema", request.output->schema},
                             {"strict", true}};
  if (request.max_output_tokens > 0) out["max_output_tokens"] = request.max_output_tokens;
  if (options.stream) out["stream"] = true;
  return out;
}

std::vector<std::string> headers(const std::string& key) {
  if (key.empty()) return {};
  return {"Authorization: Bearer " + key};
}

void read_item(const json& item, ModelReply& reply, std::string& refusal) {
  const auto type = text_member(item, "type");
  if (type == "function_call") {
    ToolCall call{text_member(item, "call_id"), text_member(item, "name"),
                  text_member(item, "arguments")};
    if (call.id.empty()) call.id = "call_" + std::to_string(reply.calls.size());
    reply.calls.push_back(std::move(call));
  }
  if (type != "message") return;
  for (const json& part : list_member(item, "content")) {
    reply.text += text_member(part, "text");
    refusal += text_member(part, "refusal");
  }
}

Usage read_usage(const json& top) {
  Usage usage;
  const json* from = member(top, "usage");
  if (from == nullptr) return usage;
  usage.input = count_member(*from, "input_tokens");
  usage.output = count_member(*from, "output_tokens");
  if (const json* more = member(*from, "input_tokens_details"))
    usage.cached = count_member(*more, "cached_tokens");
  if (const json* more = member(*from, "output_tokens_details"))
    usage.reasoning = count_member(*more, "reasoning_tokens");
  return usage;
}

Expected<ModelReply> parse(const json& top) {
  if (!top.is_object())
    return std::unexpected(reply_error("the model's reply is not a JSON object", kRemedy));
  const auto status = text_member(top, "status");
  if (status == "failed" || (top.contains("error") && top["error"].is_object()))
    return std::unexpected(
        reply_error("the model's server failed: " + told_error(top), "try again"));
  const json* output = member(top, "output");
  if (output == nullptr || !output->is_array())
    return std::unexpected(reply_error("the model's reply has no output", kRemedy));

  ModelReply reply;
  std::string refusal;
  bool reasoned = false;
  for (std::size_t i = 0; i < output->size() && i < kMostParts; ++i) {
    read_item((*output)[i], reply, refusal);
    reasoned = reasoned || text_member((*output)[i], "type") == "reasoning";
  }
  if (reasoned && output->size() <= kMostParts) reply.native = *output;
  reply.usage = read_usage(top);
  reply.cut = status == "incomplete";
  if (reply.text.empty() && reply.calls.empty()) {
    reply.text = refusal;
    reply.gave_up = !refusal.empty();
    if (!reply.gave_up && !reply.cut)
      return std::unexpected(reply_error("the model's reply is empty", "ask again"));
  }
  return reply;
}

// The last event holds the whole response.
class ResponsesAssembler : public Assembler {
 public:
  std::string add(const std::string& event, const json& data) override {
    auto type = text_member(data, "type");
    if (type.empty()) type = event;
    if (type == "response.output_text.delta") return text_member(data, "delta");
    if (type == "error") fault_ = told_error(data);
    if (type != "response.completed" && type != "response.incomplete" && type != "response.failed")
      return "";
    if (const json* response = member(data, "response"); response != nullptr) {
      if (type == "response.failed") fault_ = told_error(*response);
      whole_ = *response;
    }
    return "";
  }
  bool whole() const override { return fault_.empty() && whole_.is_object(); }
  std::string fault() const override { return fault_; }
  json take() override { return std::move(whole_); }

 private:
  std::string fault_;
  json whole_;
};

std::unique_ptr<Assembler> assemble() { return std::make_unique<ResponsesAssembler>(); }

}  // namespace

const Protocol kResponses = {"Responses", "/responses", headers, request_json, parse, assemble};

}  // namespace jailrun::agent
