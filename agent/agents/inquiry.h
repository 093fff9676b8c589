// Inquiry: questions about the same data, one after the other. It describes the data once, keeps
// one session where jaild gives one, and tells whoever watches what happens as it happens.
#pragma once

#include <memory>

#include "agent/agents/analyst.h"
#include "agent/agents/direct.h"
#include "agent/agents/present.h"
#include "agent/llm/settings.h"

namespace jailrun::agent {

// Hears what happens; each may be empty. All are called on the thread that asks.
struct Watcher {
  std::function<void(const std::string&)> progress{};  // one line, not safe to show as it is
  std::function<void(std::string_view)> text{};        // what the model says, as it comes
  std::function<void()> again{};                       // the text since the last step is void
  std::function<void(std::size_t, const Step&)> begun{}, ended{};  // steps, from 1
  std::function<void(std::string_view)> out{}, err{};              // what a step prints
};

struct InquiryOptions {
  JailOptions jails;
  ModelSettings model;
  std::vector<std::string> manifests{};  // of more tools
  std::string out{};                     // for files: as Workspace::open
  std::string about{};                   // what else a model should know of the data
  std::string as_of{};                   // what time words are counted from, where it is known
  std::size_t steps = 8;                 // runs at most, of one question
  // Tries of one question, each in a branch of the session (or in fresh jails) that only the one
  // that answers leaves behind.
  std::size_t attempts = 1;
  bool fresh = false;  // no session
  DirectLimits direct{};
};

struct Answered {
  Asked asked;
  Outcome outcome;
  std::vector<Message> messages;
  std::vector<Move> moves;  // of the session's states, by the model
  std::size_t attempt = 1;
  std::optional<DirectResult> direct{};  // of what needed no model
};

// Runs what a user wrote himself in one fresh jail of its own policy. Error: ours.
Expected<Answered> answer_directly(const DirectMessage& message, const JailOptions& jails,
                                   const std::vector<Input>& inputs,
                                   const std::vector<DataTable>& tables, const Cancel& cancel,
                                   const Watcher& watcher, const DirectLimits& limits);

class Inquiry {
 public:
  // Asks the jails what the data holds. `cancel` must outlive it.
  static Expected<std::unique_ptr<Inquiry>> open(InquiryOptions options, std::vector<Input> inputs,
                                                 const Cancel& cancel, Watcher watcher,
                                                 Deadline deadline);
  ~Inquiry();
  Inquiry(const Inquiry&) = delete;
  Inquiry& operator=(const Inquiry&) = delete;

  // `past`: questions and answers of before, beginning with a question. A question that is SQL or
  // Python itself (direct.h) is run. Error: ours; what nobody could answer is an outcome.
  Expected<Answered> ask(const std::string& question, const std::vector<Message>& past,
                         const Bounds& bounds);

  const std::vector<DataTable>& tables() const { return tables_; }
  const std::vector<Input>& inputs() const { return client_.inputs(); }
  std::string provider() const;
  std::string model() const;
  bool lasting() const { return !sessions_.empty(); }

  // No more will be asked. Error: a recording that went on.
  Expected<void> finish();

  // mark() holds the state that the session is in; undo() brings the latest one back that was held.
  Expected<void> mark();
  Expected<void> undo();
  // From here on in a second session from the same state; the first can be returned to.
  Expected<void> branch();
  Expected<void> leave_branch();
  std::size_t branches() const { return sessions_.empty() ? 0 : sessions_.size() - 1; }

 private:
  Inquiry(InquiryOptions options, std::vector<Input> inputs, const Cancel& cancel, Watcher watcher);
  Expected<void> begin(Deadline deadline);
  Expected<Answered> attempt(const std::string& question, const std::vector<Message>& past,
                             const Bounds& bounds, Interpreter& interpreter);
  Interpreter& current();
  void listen(Interpreter& interpreter) const;

  InquiryOptions options_;
  const Cancel& cancel_;
  Watcher watcher_;
  JailClient client_;
  std::unique_ptr<LanguageModel> model_;  // null: offline, which is made for each question
  std::optional<Workspace> workspace_;
  std::vector<DataTable> tables_;
  std::unique_ptr<Interpreter> fresh_;
  std::vector<std::unique_ptr<Interpreter>> sessions_;  // each a branch of the one before it
};

}  // namespace jailrun::agent
