#include "agent/offline/provider.h"

#include "agent/offline/question.h"
#include "agent/text.h"

namespace jailrun::agent::offline {
namespace {

constexpr std::string_view kNoModel =
    "No model was asked; the question was translated by fixed rules.";

class OfflineProvider : public Provider {
 public:
  Expected<Reply> reply(const Conversation& conversation, Deadline) override {
    const Message& last = conversation.messages.back();
    if (last.role == Role::Tool) return conclude(last);
    auto made = translate(conversation.question, conversation.tables);
    Reply reply;
    if (!made) {
      reply.text = std::string(kNoModel) + "\n\n" + printable(made.error()) +
                   "\nFor any other question set OPENAI_API_KEY, so that a model can be asked.";
      reply.gave_up = true;
      return reply;
    }
    title_ = made->title;
    notes_ = made->notes;
    reply.calls.push_back({"offline-1", "run_python", nlohmann::json{{"code", made->code}}.dump()});
    return reply;
  }

  std::string name() const override { return "offline"; }
  std::string model() const override { return ""; }

 private:
  Reply conclude(const Message& result) const {
    Reply reply;
    reply.gave_up = result.failed;
    reply.text = result.failed ? "The translated program failed.\n\n" + result.text : title_;
    for (const auto& note : notes_) reply.text += "\nNote: " + printable(note) + ".";
    reply.text += "\n" + std::string(kNoModel);
    return reply;
  }

  std::string title_;
  std::vector<std::string> notes_;
};

}  // namespace

std::unique_ptr<Provider> make_provider() { return std::make_unique<OfflineProvider>(); }

}  // namespace jailrun::agent::offline
