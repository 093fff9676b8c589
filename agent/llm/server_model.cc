#include "agent/llm/server_model.h"

#include <algorithm>

#include "agent/base/text.h"
#include "agent/llm/json.h"
#include "agent/llm/protocol.h"
#include "agent/llm/sse.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;

// One line that a server has said, safe to show.
std::string shown(const std::string& said, const Secret& key) {
  auto text = key.hidden_in(printable(said));
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text.size() > 300 ? printable(text.substr(0, 300)) : text;
}

// From bytes of a stream to the reply that it stands for.
class ReplyStream : public StreamReader {
 public:
  ReplyStream(const Protocol& protocol, const Listener& listener)
      : protocol_(protocol), listener_(listener) {}

  void begin() override {
    if (heard_ && listener_.again) listener_.again();
    heard_ = false;
    events_ = EventStream();
    reply_ = protocol_.assemble();
    fault_.clear();
  }
  bool take(std::string_view bytes) override {
    if (!events_.put(bytes, [&](const auto& event, const auto& data) { hear(event, data); }))
      fault_ = "an event is too large";
    return fault_.empty();
  }
  bool whole() const override { return fault_.empty() && reply_->whole(); }
  const std::string& fault() const { return fault_; }
  json reply() { return reply_->take(); }

 private:
  void hear(const std::string& event, const std::string& data) {
    if (!fault_.empty() || reply_->whole()) return;
    if (data == "[DONE]") return reply_->end();
    const json body = parse_json(data);
    if (!body.is_object()) {
      fault_ = "an event is not a JSON object";
      return;
    }
    const auto text = reply_->add(event, body);
    fault_ = reply_->fault();
    if (text.empty() || !listener_.text) return;
    heard_ = true;
    listener_.text(text);
  }

  const Protocol& protocol_;
  const Listener& listener_;
  EventStream events_;
  std::unique_ptr<Assembler> reply_ = protocol_.assemble();
  std::string fault_;
  bool heard_ = false;
};

class ServerModel : public LanguageModel {
 public:
  ServerModel(ModelSettings settings, const Cancel& cancel)
      : settings_(std::move(settings)), cancel_(cancel) {}

  Expected<ModelReply> reply(const ModelRequest& request, Deadline deadline,
                             const Listener& listener) override {
    const Protocol& protocol = *settings_.protocol;
    ReplyStream stream(protocol, listener);
    HttpPost post;
    post.url = settings_.base_url + std::string(protocol.path);
    post.headers = protocol.headers(settings_.key.reveal());
    post.body = dump_json(protocol.request(
        request, {settings_.model, static_cast<bool>(listener.text), settings_.official}));
    post.limits = settings_.limits;
    post.deadline = deadline;
    post.setting = settings_.url_name;
    post.waiting = listener.waiting;
    if (listener.text) post.stream = &stream;
    auto answered = post_json(post, cancel_);
    if (!answered) {
      if (!stream.fault().empty() && !is_cancelled(answered.error()))
        answered.error().message += ": " + shown(stream.fault(), settings_.key);
      return std::unexpected(std::move(answered.error()));
    }
    if (answered->status != 200) return std::unexpected(status_error(post.url, *answered));
    if (answered->streamed) return protocol.parse(stream.reply());
    auto reply = protocol.parse(parse_json(answered->body));
    if (reply && listener.text && !reply->text.empty()) listener.text(reply->text);
    return reply;
  }

  std::string provider() const override { return std::string(name(settings_.provider)); }
  std::string model() const override { return settings_.model; }

 private:
  // What a server says of a refused request, without the key should it be repeated there.
  Error status_error(const std::string& url, const HttpReply& reply) const {
    const json body = parse_json(reply.body);
    const auto said = body.is_object() && body.contains("error")
                          ? shown(told_error(body), settings_.key)
                          : std::string();
    auto message = url + " answered " + std::to_string(reply.status);
    if (!said.empty()) message += ": " + said;
    return reply_error(std::move(message), remedy(reply.status));
  }

  std::string remedy(long status) const {
    const std::string &url = settings_.url_name, &model = settings_.model_name;
    if (status == 401 || status == 403) return "check " + settings_.key_name;
    if (status == 404)
      return "check " + url +
             (settings_.protocol == &kMessages ? "" : " (it usually ends in /v1)") + " and " +
             model;
    if (status == 429) return "wait, or check the quota of the account";
    if (status >= 300 && status < 400) return "redirects are not followed; name the final address";
    if (status >= 500) return "try again later";
    return "check " + url + " and " + model;
  }

  ModelSettings settings_;
  const Cancel& cancel_;
};

}  // namespace

std::unique_ptr<LanguageModel> make_server_model(ModelSettings settings, const Cancel& cancel) {
  return std::make_unique<ServerModel>(std::move(settings), cancel);
}

}  // namespace jailrun::agent
