#include "agent/offline/model.h"

#include "agent/base/text.h"
#include "agent/offline/question.h"

namespace jailrun::agent::offline {
namespace {

constexpr std::string_view kNoModel =
    "No model was asked; the question was translated by fixed rules.";

class OfflineModel : public LanguageModel {
 public:
  OfflineModel(std::string question, std::vector<DataTable> tables, std::string as_of)
      : question_(std::move(question)), tables_(std::move(tables)), as_of_(std::move(as_of)) {}

  Expected<ModelReply> reply(const ModelRequest& request, Deadline, const Listener&) override {
    const Message& last = request.messages.back();
    if (last.role == Role::Tool) return conclude(last);
    auto made = translate(question_, tables_, as_of_);
    ModelReply reply;
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

  std::string provider() const override { return "offline"; }
  std::string model() const override { return ""; }

 private:
  ModelReply conclude(const Message& result) const {
    ModelReply reply;
    reply.gave_up = result.failed;
    reply.text = result.failed ? "The translated program failed.\n\n" + result.text : title_;
    for (const auto& note : notes_) reply.text += "\nNote: " + printable(note) + ".";
    reply.text += "\n" + std::string(kNoModel);
    return reply;
  }

  std::string question_;
  std::vector<DataTable> tables_;
  std::string as_of_;
  std::string title_;
  std::vector<std::string> notes_;
};

}  // namespace

std::unique_ptr<LanguageModel> make_model(std::string question, std::vector<DataTable> tables,
                                          std::string as_of) {
  return std::make_unique<OfflineModel>(std::move(question), std::move(tables), std::move(as_of));
}

}  // namespace jailrun::agent::offline
