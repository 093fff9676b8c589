#include "agent/llm/transcript.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "agent/base/text.h"
#include "agent/llm/json.h"
#include "agent/llm/server_model.h"
#include "jail/sys/fd.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
constexpr std::size_t kMostTranscript = 256 << 20;

constexpr std::pair<Role, const char*> kRoles[] = {{Role::Developer, "developer"},
                                                   {Role::User, "user"},
                                                   {Role::Assistant, "assistant"},
                                                   {Role::Tool, "tool"}};

Error transcript_error(const std::string& file, int errno_value, std::string message,
                       std::string remedy) {
  return Error{Stage::None, file, errno_value, std::move(message), std::move(remedy)};
}

json calls_json(const std::vector<ToolCall>& calls) {
  json out = json::array();
  for (const auto& call : calls)
    out.push_back({{"id", call.id}, {"name", call.name}, {"arguments", call.arguments}});
  return out;
}

json message_json(const Message& message) {
  json out = {{"text", message.text}};
  for (const auto& [role, word] : kRoles)
    if (role == message.role) out["role"] = word;
  if (!message.calls.empty()) out["calls"] = calls_json(message.calls);
  if (!message.call_id.empty()) out["call_id"] = message.call_id;
  if (message.failed) out["failed"] = true;
  return out;
}

// Conversations grow: a request is written without the messages that the one before it had.
std::size_t kept_messages(const json& before, const json& now) {
  const json &old = list_member(before, "messages"), &all = list_member(now, "messages");
  std::size_t kept = 0;
  while (kept < old.size() && kept < all.size() && old[kept] == all[kept]) ++kept;
  return kept;
}

std::string brief(const json* value) {
  return value == nullptr ? "nothing" : clip(printable(dump_json(*value)), 160);
}

// Where two values differ first, as JSON pointer, and how; empty if nowhere.
std::string difference(const json* recorded, const json* now, const std::string& path) {
  const bool same_kind = recorded != nullptr && now != nullptr && recorded->type() == now->type();
  if (same_kind && *recorded == *now) return "";
  if (same_kind && recorded->is_array()) {
    for (std::size_t i = 0; i < std::max(recorded->size(), now->size()); ++i) {
      auto inner =
          difference(i < recorded->size() ? &(*recorded)[i] : nullptr,
                     i < now->size() ? &(*now)[i] : nullptr, path + "/" + std::to_string(i));
      if (!inner.empty()) return inner;
    }
  }
  if (same_kind && recorded->is_object()) {
    json keys = *recorded;
    keys.update(*now);
    for (const auto& [key, ignored] : keys.items()) {
      auto inner =
          difference(member(*recorded, key.c_str()), member(*now, key.c_str()), path + "/" + key);
      if (!inner.empty()) return inner;
    }
  }
  if (same_kind && recorded->is_string()) {
    const auto &a = recorded->get_ref<const std::string&>(),
               &b = now->get_ref<const std::string&>();
    const auto at = static_cast<std::size_t>(
        std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
    const auto from = at > 40 ? at - 40 : 0;
    return path + " from character " + std::to_string(at) + " on: recorded \"" +
           clip(printable(a.substr(from, 120)), 160) + "\", now \"" +
           clip(printable(b.substr(from, 120)), 160) + "\"";
  }
  return path + ": recorded " + brief(recorded) + ", now " + brief(now);
}

class RecordingModel : public LanguageModel {
 public:
  RecordingModel(std::unique_ptr<LanguageModel> inner, std::string path, Fd file,
                 std::optional<Prices> prices)
      : inner_(std::move(inner)), path_(std::move(path)), file_(std::move(file)), prices_(prices) {}

  Expected<void> open() {
    return write({{"transcript", 1}, {"provider", inner_->provider()}, {"model", inner_->model()}});
  }

  Expected<ModelReply> reply(const ModelRequest& request, Deadline deadline,
                             const Listener& listener) override {
    const auto start = Clock::now();
    TRY(ModelReply reply, inner_->reply(request, deadline, listener));
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start);
    json said = request_json(request);
    json line = {{"request", said}, {"reply", reply_json(reply)}, {"wall_ms", took.count()}};
    if (prices_) line["cost_usd"] = prices_->cost_usd(reply.usage);
    if (const auto kept = kept_messages(before_, said); kept > 0) {
      auto& messages = line["request"]["messages"];
      messages.erase(messages.begin(), messages.begin() + static_cast<std::ptrdiff_t>(kept));
      line["request"]["messages_kept"] = kept;
    }
    before_ = std::move(said);
    TRY_VOID(write(line));
    return reply;
  }
  std::string provider() const override { return inner_->provider(); }
  std::string model() const override { return inner_->model(); }
  Expected<void> finish() override { return inner_->finish(); }

 private:
  Expected<void> write(const json& line) {
    const auto text = dump_json(line) + "\n";
    const int failed = write_all(file_.get(), text.data(), text.size());
    if (failed == 0) return {};
    return std::unexpected(
        transcript_error(path_, failed, "cannot write the transcript " + path_, "free some space"));
  }

  std::unique_ptr<LanguageModel> inner_;
  std::string path_;
  Fd file_;
  std::optional<Prices> prices_;
  json before_;
};

struct Exchange {
  json request, reply;
};

class RecordedModel : public LanguageModel {
 public:
  RecordedModel(std::string path, std::string model, std::vector<Exchange> exchanges)
      : path_(std::move(path)), model_(std::move(model)), exchanges_(std::move(exchanges)) {}

  Expected<ModelReply> reply(const ModelRequest& request, Deadline,
                             const Listener& listener) override {
    const auto number = std::to_string(next_ + 1);
    if (next_ >= exchanges_.size())
      return std::unexpected(differs("request " + number + " is one too many: " +
                                     std::to_string(exchanges_.size()) + " were recorded"));
    const json now = request_json(request);
    const auto where = difference(&exchanges_[next_].request, &now, "");
    if (!where.empty())
      return std::unexpected(differs("request " + number + " differs at " + where));
    auto reply = read_reply(exchanges_[next_++].reply);
    if (listener.text && !reply.text.empty()) listener.text(reply.text);
    return reply;
  }
  std::string provider() const override { return "recorded"; }
  std::string model() const override { return model_; }
  Expected<void> finish() override {
    if (next_ == exchanges_.size()) return {};
    return std::unexpected(differs("the conversation ended after " + std::to_string(next_) +
                                   " requests: " + std::to_string(exchanges_.size()) +
                                   " were recorded"));
  }

 private:
  Error differs(const std::string& how) const {
    return transcript_error(path_, 0, "not the conversation of " + path_ + ": " + how,
                            "record it anew with LLM_RECORD if the change is meant");
  }

  std::string path_, model_;
  std::vector<Exchange> exchanges_;
  std::size_t next_ = 0;
};

Expected<std::string> read_transcript(const std::string& file) {
  const Fd opened(open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status{};
  if (!opened.valid() || fstat(opened.get(), &status) != 0)
    return std::unexpected(transcript_error(file, errno, "cannot read the transcript " + file,
                                            "check LLM_TRANSCRIPT"));
  const auto size = static_cast<std::size_t>(status.st_size);
  if (!S_ISREG(status.st_mode) || size > kMostTranscript)
    return std::unexpected(transcript_error(
        file, 0, file + " is no transcript: no regular file, or of more than 256 MiB",
        "check LLM_TRANSCRIPT"));
  return read_file_at(AT_FDCWD, file.c_str(), size);
}

}  // namespace

json request_json(const ModelRequest& request) {
  json out = {{"messages", json::array()}, {"tools", json::array()}};
  for (const auto& message : request.messages) out["messages"].push_back(message_json(message));
  for (const auto& tool : request.tools)
    out["tools"].push_back(
        {{"name", tool.name}, {"description", tool.description}, {"parameters", tool.parameters}});
  if (!request.reasoning_effort.empty()) out["reasoning_effort"] = request.reasoning_effort;
  if (request.output)
    out["output"] = {{"name", request.output->name}, {"schema", request.output->schema}};
  if (request.max_output_tokens > 0) out["max_output_tokens"] = request.max_output_tokens;
  return parse_json(dump_json(out));  // as it reads after it was written
}

json reply_json(const ModelReply& reply) {
  json out = {{"text", reply.text},
              {"usage",
               {{"input", reply.usage.input},
                {"cached", reply.usage.cached},
                {"output", reply.usage.output},
                {"reasoning", reply.usage.reasoning}}}};
  if (!reply.calls.empty()) out["calls"] = calls_json(reply.calls);
  if (reply.gave_up) out["gave_up"] = true;
  if (reply.cut) out["cut"] = true;
  if (!reply.native.is_null()) out["native"] = reply.native;
  return out;
}

ModelReply read_reply(const json& from) {
  ModelReply reply;
  reply.text = text_member(from, "text");
  for (const json& call : list_member(from, "calls"))
    reply.calls.push_back(
        {text_member(call, "id"), text_member(call, "name"), text_member(call, "arguments")});
  if (const json* usage = member(from, "usage"))
    reply.usage = {count_member(*usage, "input"), count_member(*usage, "cached"),
                   count_member(*usage, "output"), count_member(*usage, "reasoning")};
  const json *gave_up = member(from, "gave_up"), *cut = member(from, "cut");
  reply.gave_up = gave_up != nullptr && *gave_up == true;
  reply.cut = cut != nullptr && *cut == true;
  if (const json* native = member(from, "native")) reply.native = *native;
  return reply;
}

Expected<std::unique_ptr<LanguageModel>> make_recording_model(std::unique_ptr<LanguageModel> inner,
                                                              const ModelSettings& settings) {
  const std::string& path = settings.record;
  Fd file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!file.valid())
    return std::unexpected(transcript_error(path, errno, "cannot write the transcript " + path,
                                            "name a file that is not there yet (LLM_RECORD)"));
  auto made =
      std::make_unique<RecordingModel>(std::move(inner), path, std::move(file), settings.prices);
  TRY_VOID(made->open());
  return made;
}

Expected<std::unique_ptr<LanguageModel>> make_recorded_model(const std::string& file) {
  TRY(const std::string text, read_transcript(file));
  std::vector<Exchange> exchanges;
  std::string model;
  std::size_t number = 0;
  for (std::size_t at = 0; at < text.size(); ++number) {
    const auto end = std::min(text.find('\n', at), text.size());
    json line = parse_json(std::string_view(text).substr(at, end - at));
    at = end + 1;
    const bool head = number == 0 && count_member(line, "transcript") == 1;
    if (head) model = text_member(line, "model");
    const json* said = member(line, "request");
    if (!head && (number == 0 || said == nullptr || !said->is_object()))
      return std::unexpected(transcript_error(
          file, 0, file + ":" + std::to_string(number + 1) + " is no line of a transcript",
          "record it anew with LLM_RECORD"));
    if (head) continue;
    Exchange exchange{line["request"], line["reply"]};
    const auto kept = count_member(exchange.request, "messages_kept");
    json messages = json::array();
    const json before = exchanges.empty() ? json() : exchanges.back().request;
    const json& earlier = list_member(before, "messages");
    for (std::size_t i = 0; i < kept && i < earlier.size(); ++i) messages.push_back(earlier[i]);
    for (const json& message : list_member(exchange.request, "messages"))
      messages.push_back(message);
    exchange.request.erase("messages_kept");
    exchange.request["messages"] = std::move(messages);
    exchanges.push_back(std::move(exchange));
  }
  return std::make_unique<RecordedModel>(file, model, std::move(exchanges));
}

Expected<std::unique_ptr<LanguageModel>> make_model(const ModelSettings& settings,
                                                    const Cancel& cancel) {
  std::unique_ptr<LanguageModel> made;
  if (settings.provider == Provider::Recorded) {
    TRY(made, make_recorded_model(settings.transcript));
  } else {
    made = make_server_model(settings, cancel);
  }
  if (settings.record.empty()) return made;
  return make_recording_model(std::move(made), settings);
}

}  // namespace jailrun::agent
