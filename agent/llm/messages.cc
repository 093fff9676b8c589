// Anthropic's Messages. Roles alternate there, results of tools are the user's word, and what is
// said in advance stands apart.
#include <algorithm>
#include <array>

#include "agent/llm/json.h"
#include "agent/llm/protocol.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
constexpr const char* kRemedy = "check that ANTHROPIC_BASE_URL speaks Messages";
// Structured output is asked for as the one tool that must be called.
constexpr const char* kOutputTool = "structured_output";
constexpr std::uint64_t kMostOutput = 16'384;  // of a reply; the protocol wants a number

struct Effort {
  std::string_view name;
  std::uint64_t thinking_tokens;
};
constexpr std::array<Effort, 4> kEfforts{
    {{"minimal", 1024}, {"low", 2048}, {"medium", 8192}, {"high", 24'576}}};

json text_block(const std::string& text) { return {{"type", "text"}, {"text", text}}; }

json blocks_of(const Message& message) {
  if (message.role == Role::Tool)
    return json::array({{{"type", "tool_result"},
                         {"tool_use_id", message.call_id},
                         {"content", message.text},
                         {"is_error", message.failed}}});
  if (message.native.is_array()) return message.native;
  json blocks = json::array();
  if (!message.text.empty()) blocks.push_back(text_block(message.text));
  for (const auto& call : message.calls) {
    json input = parse_json(call.arguments);
    if (!input.is_object()) input = json::object();
    blocks.push_back(
        {{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", input}});
  }
  return blocks;
}

void add_message(const Message& message, json& messages) {
  json blocks = blocks_of(message);
  if (blocks.empty()) return;
  const char* role = message.role == Role::Assistant ? "assistant" : "user";
  if (!messages.empty() && messages.back()["role"] == role) {
    for (json& block : blocks) messages.back()["content"].push_back(std::move(block));
    return;
  }
  messages.push_back({{"role", role}, {"content", std::move(blocks)}});
}

json request_json(const ModelRequest& request, const RequestOptions& options) {
  json out = {{"model", options.model}, {"messages", json::array()}};
  std::string system;
  for (const auto& message : request.messages) {
    if (message.role == Role::Developer)
      system += (system.empty() ? "" : "\n\n") + message.text;
    else
      add_message(message, out["messages"]);
  }
  if (!system.empty()) out["system"] = system;
  for (const auto& tool : request.tools)
    out["tools"].push_back({{"name", tool.name},
                            {"description", tool.description},
                            {"input_schema", tool.parameters}});
  if (!request.tools.empty()) out["tool_choice"] = {{"type", "auto"}};
  out["max_tokens"] = request.max_output_tokens > 0 ? request.max_output_tokens : kMostOutput;
  const auto* effort = std::find_if(kEfforts.begin(), kEfforts.end(), [&](const Effort& known) {
    return known.name == request.reasoning_effort;
  });
  const bool thinks = effort != kEfforts.end();
  if (thinks) {
    out["thinking"] = {{"type", "enabled"}, {"budget_tokens", effort->thinking_tokens}};
    out["max_tokens"] = out["max_tokens"].get<std::uint64_t>() + effort->thinking_tokens;
  }
  if (request.output) {
    out["tools"].push_back({{"name", kOutputTool},
                            {"description", "Gives the answer, " + request.output->name + "."},
                            {"input_schema", request.output->schema}});
    // A call cannot be demanded of a model that thinks first.
    out["tool_choice"] =
        thinks ? json{{"type", "auto"}} : json{{"type", "tool"}, {"name", kOutputTool}};
  }
  if (options.stream) out["stream"] = true;
  return out;
}

std::vector<std::string> headers(const std::string& key) {
  std::vector<std::string> out = {"anthropic-version: 2023-06-01"};
  if (!key.empty()) out.push_back("x-api-key: " + key);
  return out;
}

bool read_block(const json& block, ModelReply& reply) {
  const auto type = text_member(block, "type");
  if (type == "text") reply.text += text_member(block, "text");
  if (type == "tool_use") {
    const json* input = member(block, "input");
    auto arguments = input != nullptr ? dump_json(*input) : "{}";
    auto name = text_member(block, "name"), id = text_member(block, "id");
    if (id.empty()) id = "call_" + std::to_string(reply.calls.size());
    if (name == kOutputTool)
      reply.text = arguments;
    else
      reply.calls.push_back({std::move(id), std::move(name), std::move(arguments)});
  }
  return type == "thinking" || type == "redacted_thinking";
}

Usage read_usage(const json& top) {
  Usage usage;
  const json* from = member(top, "usage");
  if (from == nullptr) return usage;
  usage.cached = count_member(*from, "cache_read_input_tokens");
  usage.input = count_member(*from, "input_tokens") + usage.cached +
                count_member(*from, "cache_creation_input_tokens");
  usage.output = count_member(*from, "output_tokens");
  return usage;
}

Expected<ModelReply> parse(const json& top) {
  if (!top.is_object())
    return std::unexpected(reply_error("the model's reply is not a JSON object", kRemedy));
  const json* content = member(top, "content");
  if (content == nullptr || !content->is_array())
    return std::unexpected(reply_error("the model's reply has no content", kRemedy));
  ModelReply reply;
  bool thought = false;
  for (std::size_t i = 0; i < content->size() && i < kMostParts; ++i)
    thought = read_block((*content)[i], reply) || thought;
  if (thought && content->size() <= kMostParts) reply.native = *content;
  reply.usage = read_usage(top);
  const auto reason = text_member(top, "stop_reason");
  reply.cut = reason == "max_tokens" || reason == "model_context_window_exceeded";
  if (reason == "refusal") {
    reply.gave_up = true;
    reply.calls.clear();
    if (reply.text.empty()) reply.text = "The model refused to answer.";
  }
  if (reply.text.empty() && reply.calls.empty() && !reply.cut)
    return std::unexpected(reply_error("the model's reply is empty", "ask again"));
  return reply;
}

class MessagesAssembler : public Assembler {
 public:
  std::string add(const std::string& event, const json& data) override {
    auto type = text_member(data, "type");
    if (type.empty()) type = event;
    if (type == "error") fault_ = told_error(data);
    if (type == "message_stop") whole_ = true;
    if (type == "message_start") {
      if (const json* message = member(data, "message"); message != nullptr) take_usage(*message);
    } else if (type == "message_delta") {
      take_usage(data);
      if (const json* delta = member(data, "delta"))
        if (auto reason = text_member(*delta, "stop_reason"); !reason.empty()) reason_ = reason;
    } else if (type == "content_block_start") {
      const json* block = member(data, "content_block");
      if (block != nullptr && block->is_object() && blocks_.size() < kMostParts)
        blocks_.push_back({*block, ""});
    } else if (type == "content_block_delta") {
      return add_delta(data);
    }
    return "";
  }
  bool whole() const override { return whole_ && fault_.empty(); }
  std::string fault() const override { return fault_; }
  json take() override {
    json content = json::array();
    for (auto& block : blocks_) {
      if (!block.input.empty()) {
        json input = parse_json(block.input);
        // Half an object, of a reply that was cut: whoever checks arguments shall see that.
        block.value["input"] = input.is_discarded() ? json(block.input) : input;
      }
      content.push_back(std::move(block.value));
    }
    return {{"content", content}, {"stop_reason", reason_}, {"usage", usage_}};
  }

 private:
  struct Block {
    json value;
    std::string input;
  };

  void take_usage(const json& from) {
    if (const json* usage = member(from, "usage"); usage != nullptr && usage->is_object())
      usage_.update(*usage);
  }

  // Blocks come one after the other; the index of a piece is that of the latest.
  std::string add_delta(const json& data) {
    const auto index = count_member(data, "index");
    const json* delta = member(data, "delta");
    if (index >= blocks_.size() || delta == nullptr) return "";
    Block& block = blocks_[index];
    block.input += text_member(*delta, "partial_json");
    for (const char* name : {"text", "thinking", "signature"}) {
      const auto more = text_member(*delta, name);
      if (!more.empty()) block.value[name] = text_member(block.value, name) + more;
    }
    return text_member(*delta, "text");
  }

  std::vector<Block> blocks_;
  std::string reason_, fault_;
  json usage_ = json::object();
  bool whole_ = false;
};

std::unique_ptr<Assembler> assemble() { return std::make_unique<MessagesAssembler>(); }

}  // namespace

const Protocol kMessages = {"Messages", "/v1/messages", headers, request_json, parse, assemble};

}  // namespace jailrun::agent
