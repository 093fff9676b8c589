#include "agent/agents/inquiry.h"

#include "agent/base/text.h"
#include "agent/offline/model.h"
#include "agent/tools/manifest.h"

namespace jailrun::agent {

Inquiry::Inquiry(InquiryOptions options, std::vector<Input> inputs, const Cancel& cancel,
                 Watcher watcher)
    : options_(std::move(options)),
      cancel_(cancel),
      watcher_(std::move(watcher)),
      client_(options_.jails, std::move(inputs), cancel) {}

Inquiry::~Inquiry() {
  while (!sessions_.empty()) sessions_.pop_back();  // a branch before what it is a branch of
}

Expected<std::unique_ptr<Inquiry>> Inquiry::open(InquiryOptions options, std::vector<Input> inputs,
                                                 const Cancel& cancel, Watcher watcher,
                                                 Deadline deadline) {
  std::unique_ptr<Inquiry> made(
      new Inquiry(std::move(options), std::move(inputs), cancel, std::move(watcher)));
  TRY_VOID(made->begin(deadline));
  return made;
}

// What can be wrong with a wish is found before the first jail.
Expected<void> Inquiry::begin(Deadline deadline) {
  const auto say = [&](const std::string& what) {
    if (watcher_.progress) watcher_.progress(what);
  };
  for (const auto& path : options_.manifests) TRY_VOID(read_manifest(path, client_));
  if (options_.model.provider != Provider::Offline) {
    TRY(model_, make_model(options_.model, cancel_));
  }
  TRY(Workspace workspace, Workspace::open(options_.out));
  workspace_.emplace(std::move(workspace));
  say("describing the data in a jail");
  TRY(tables_, describe(client_, deadline));
  fresh_ = make_fresh_jails(client_);
  listen(*fresh_);
  if (options_.fresh) return {};
  auto session = make_session(options_.jails, client_.inputs(), cancel_);
  if (!session) {
    say("every run in a fresh jail: " + session.error().line());
    return {};
  }
  listen(**session);
  sessions_.push_back(std::move(*session));
  return {};
}

std::string Inquiry::provider() const { return model_ ? model_->provider() : "offline"; }
std::string Inquiry::model() const { return model_ ? model_->model() : ""; }

Interpreter& Inquiry::current() { return sessions_.empty() ? *fresh_ : *sessions_.back(); }

void Inquiry::listen(Interpreter& interpreter) const {
  interpreter.listen({watcher_.out, watcher_.err});
}

Expected<Answered> Inquiry::attempt(const std::string& question, const std::vector<Message>& past,
                                    const Bounds& bounds, Interpreter& interpreter) {
  const auto start = Clock::now();
  std::unique_ptr<LanguageModel> offline;
  if (!model_) offline = offline::make_model(question, tables_, options_.as_of);
  LanguageModel& model = model_ ? *model_ : *offline;
  std::vector<std::unique_ptr<Tool>> custom;
  for (const auto& path : options_.manifests) {
    TRY(custom.emplace_back(), read_manifest(path, client_));
  }
  Bench bench{interpreter, *fresh_, *workspace_, client_.inputs(), tables_, options_.steps};
  bench.begun = watcher_.begun;
  bench.ended = watcher_.ended;
  bench.about = options_.about;
  Analyst analyst(bench, model, options_.model.effort, options_.model.prices, std::move(custom));
  TaskOptions task;
  task.bounds = bounds;
  task.progress = watcher_.progress;
  task.listener = {watcher_.text, watcher_.again, watcher_.progress};
  Answered done;
  TRY(done.outcome, analyst.ask(question, task, past));
  done.asked = {question, model.provider(), model.model(), tables_, data_notes(tables_)};
  done.asked.steps = std::move(bench.steps);
  done.asked.wall_ns =
      static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - start).count());
  done.messages = analyst.messages();
  done.moves = std::move(bench.moves);
  return done;
}

Expected<Answered> answer_directly(const DirectMessage& message, const JailOptions& jails,
                                   const std::vector<Input>& inputs,
                                   const std::vector<DataTable>& tables, const Cancel& cancel,
                                   const Watcher& watcher, const DirectLimits& limits) {
  const auto start = Clock::now();
  const JailClient client(direct_options(jails, message.mode), inputs, cancel);
  const auto jail = make_fresh_jails(client);
  Step told{message.mode == DirectMode::Python ? message.text : "",
            message.mode == DirectMode::Python ? "" : message.text};
  if (watcher.begun) watcher.begun(1, told);
  Answered done;
  TRY(done.direct, run_direct(message, tables, *jail, limits));
  if (watcher.ended) watcher.ended(1, done.direct->step);
  done.outcome = outcome_of(*done.direct);
  done.asked = {message.text, "direct", "", tables, data_notes(tables)};
  if (!done.direct->step.result.verdict.empty()) done.asked.steps.push_back(done.direct->step);
  for (const auto& warning : done.direct->warnings) done.asked.notes.push_back(warning);
  done.asked.wall_ns =
      static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - start).count());
  return done;
}

Expected<Answered> Inquiry::ask(const std::string& question, const std::vector<Message>& past,
                                const Bounds& bounds) {
  if (const auto message = direct_message(question)) {
    DirectLimits limits = options_.direct;
    limits.deadline = std::min(limits.deadline, bounds.deadline);
    TRY(Answered done,
        answer_directly(*message, options_.jails, inputs(), tables_, cancel_, watcher_, limits));
    done.asked.question = question;
    return done;
  }
  const std::size_t most = model_ ? std::max<std::size_t>(options_.attempts, 1) : 1;
  Usage spent;
  std::string text = question;
  for (std::size_t number = 1;; ++number) {
    std::unique_ptr<Interpreter> branch;
    if (most > 1 && lasting()) {
      TRY(branch, current().branch());
      listen(*branch);
    }
    Bounds left = bounds;
    left.tokens -= std::min(left.tokens, spent.total());
    TRY(Answered done, attempt(text, past, left, branch ? *branch : current()));
    done.asked.question = question;
    spent += done.outcome.usage;
    done.outcome.usage = spent;
    if (options_.model.prices) done.outcome.cost_usd = options_.model.prices->cost_usd(spent);
    done.attempt = number;
    const bool over = number == most || Clock::now() >= bounds.deadline ||
                      spent.total() >= bounds.tokens ||
                      (bounds.cost_usd > 0 && done.outcome.cost_usd.value_or(0) >= bounds.cost_usd);
    if (done.outcome.answered || over) {
      if (branch && done.outcome.answered) sessions_.push_back(std::move(branch));
      return done;
    }
    if (watcher_.progress)
      watcher_.progress("attempt " + std::to_string(number) + " of " + std::to_string(most) +
                        " is dropped: " + done.outcome.answer);
    if (watcher_.again) watcher_.again();
    text = question + "\n\n(An earlier attempt ended without an answer: " +
           clip(printable(done.outcome.answer), 600) + " Try another way.)";
  }
}

Expected<void> Inquiry::finish() {
  if (!model_) return {};
  return model_->finish();
}

Expected<void> Inquiry::mark() { return current().mark(); }
Expected<void> Inquiry::undo() { return current().back(); }

Expected<void> Inquiry::branch() {
  TRY(auto made, current().branch());
  listen(*made);
  sessions_.push_back(std::move(made));
  return {};
}

Expected<void> Inquiry::leave_branch() {
  if (branches() == 0)
    return std::unexpected(Error{Stage::None, "branch", 0, "this is no branch", "make one first"});
  sessions_.pop_back();
  return {};
}

}  // namespace jailrun::agent
