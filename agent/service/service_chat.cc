// The routes that ask: /chat, /chat/stream, /v1/analyze.
#include "agent/agents/present.h"
#include "agent/base/text.h"
#include "agent/data/inputs.h"
#include "agent/llm/json.h"
#include "agent/service/multipart.h"
#include "agent/service/questions.h"

namespace jailrun::service {
namespace {

using nlohmann::json;
constexpr std::uint64_t kChatBytes = 256 << 10;

const Field kDataset{"dataset_id", "string", false, {}, {}, "a registered data set"};
const Field kFiles{"files", "array", false, {}, {}, "ids of stored files, instead"};
const Field kUser{"user_id", "string", false, {}, {}, "whose files; default \"\""};

Json or_null(const json* value) { return value == nullptr ? Json() : Json(*value); }

HttpReply stopped(const Error& error) {
  if (error.errno_value >= 400) return reply_from(error);
  return failure(500, "Internal server error: " + agent::printable(error.line()));
}

}  // namespace

std::string file_url(const std::string& run_id, std::size_t step, const std::string& name) {
  std::string out = "/runs/" + run_id + "/files/" + std::to_string(step) + "/";
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '.' || c == '_' || c == '-') {
      out += c;
      continue;
    }
    out += '%';
    out += "0123456789ABCDEF"[byte >> 4];
    out += "0123456789ABCDEF"[byte & 15];
  }
  return out;
}

Json result_view(const json& capsule) {
  const json* table = agent::member(capsule, "result_json");
  const bool there = table != nullptr && table->is_object();
  return {{"columns", there ? or_null(agent::member(*table, "columns")) : Json()},
          {"rows", there ? or_null(agent::member(*table, "rows")) : Json()},
          {"row_count", there ? or_null(agent::member(*table, "row_count")) : Json()},
          {"exec_time_ms", or_null(agent::member(capsule, "exec_time_ms"))},
          {"error", or_null(agent::member(capsule, "error_json"))}};
}

Json details_view(const json& capsule) {
  Json out = Json::object();
  for (const char* key : {"dataset_id", "query_mode", "plan_json", "compiled_sql", "python_code"})
    out[key] = or_null(agent::member(capsule, key));
  return out;
}

Json chat_view(const json& capsule) {
  return {{"assistant_message", or_null(agent::member(capsule, "answer"))},
          {"run_id", or_null(agent::member(capsule, "run_id"))},
          {"thread_id", or_null(agent::member(capsule, "thread_id"))},
          {"status", or_null(agent::member(capsule, "status"))},
          {"result", result_view(capsule)},
          {"details", details_view(capsule)}};
}

HttpReply Service::chat(Call& call) {
  Question question(options_, call.owner, call.http.id, nullptr, call.http.gone);
  const auto reply = question.ask(call.body);
  if (!question.capsule().is_null()) metrics_.asked(question.capsule());
  return reply ? json_reply(*reply) : stopped(reply.error());
}

HttpReply Service::stream_chat(Call& call) {
  HttpReply reply;
  reply.events = [this, owner = call.owner, body = call.body,
                  &http = call.http](const SendEvent& send) {
    Question question(options_, owner, http.id, send, http.gone);
    const auto done = question.ask(body);
    if (!question.capsule().is_null()) metrics_.asked(question.capsule());
    if (!done) {
      send("error", stopped(done.error()).body);
      return;
    }
    send("result", done->dump(-1, ' ', false, Json::error_handler_t::replace));
    send("done", Json{{"run_id", (*done)["run_id"]}}.dump());
  };
  return reply;
}

HttpReply Service::analyze(Call& call) {
  auto form = take_upload(call.http);
  if (!form) return std::move(form.error());
  const std::string question = form->field("question");
  if (question.empty()) return failure(400, "say what is asked: ?question=…, or a field question");
  const auto path =
      "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(form->file.get());
  auto file_name = form->name;
  std::ranges::replace(file_name, ':', '_');
  auto inputs = agent::check_inputs({path + ":" + file_name});
  if (!inputs) return failure(400, "there is no file in the body, or an empty one");
  inputs->front().origin = "upload:" + file_name;
  Question asked(options_, call.owner, call.http.id, nullptr, call.http.gone);
  const auto reply = asked.analyze(std::move(inputs->front()), question);
  if (!asked.capsule().is_null()) metrics_.asked(asked.capsule());
  return reply ? json_reply(*reply) : stopped(reply.error());
}

void Service::add_chat() {
  const std::vector<Field> fields = {
      kDataset,
      {"message", "string", true, {}, {}, "a question, SQL: … or PYTHON: …"},
      {"thread_id", "string", false, {}, {}, "a conversation to go on with"},
      kFiles,
      kUser};
  routes_.add({"POST", "/chat", "Ask about data", fields, {kChatBytes}, [this](Call& call) {
                 return chat(call);
               }});
  routes_.add({"POST",
               "/chat/stream",
               "The same as server-sent events: start, status, text, code, output, plot, step, "
               "result, done, error",
               fields,
               {kChatBytes},
               [this](Call& call) { return stream_chat(call); }});
  routes_.add({"POST",
               "/v1/analyze",
               "Ask about the file that is the body: ?question=…&filename=…",
               {},
               {options_.store_options.file_bytes + kFormBytes, true},
               [this](Call& call) { return analyze(call); }});
}

}  // namespace jailrun::service
