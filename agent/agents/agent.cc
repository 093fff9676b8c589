#include "agent/agents/agent.h"

#include "agent/base/text.h"

namespace jailrun::agent {
namespace {

constexpr std::size_t kMostCallsPerTurn = 8;
constexpr std::size_t kMostReplyBytes = 2 << 20;  // of text and calls; more is no honest reply

Outcome& stop(Outcome& outcome, std::string why) {
  outcome.answered = false;
  outcome.answer = std::move(why);
  return outcome;
}

std::size_t size_of(const ModelReply& reply) {
  std::size_t size = reply.text.size();
  for (const auto& call : reply.calls)
    size += call.id.size() + call.name.size() + call.arguments.size();
  return size;
}

}  // namespace

BaseAgent::BaseAgent(AgentSettings settings, LanguageModel& model)
    : settings_(std::move(settings)), model_(model) {
  messages_.push_back({Role::Developer, settings_.developer_prompt});
}

void BaseAgent::add_context(const std::string& text) { messages_.push_back({Role::User, text}); }

void BaseAgent::recall(const std::vector<Message>& past) {
  messages_.insert(messages_.end(), past.begin(), past.end());
}

const ToolTable& BaseAgent::tools() {
  if (!set_up_) setup_tools(tools_);
  set_up_ = true;
  return tools_;
}

std::string BaseAgent::signature() {
  std::string names;
  for (const auto& spec : tools().specs()) names += (names.empty() ? "" : ", ") + spec.name;
  return settings_.name + " (" + model_.provider() +
         (model_.model().empty() ? "" : " " + model_.model()) + "): " + names;
}

// Runs all calls of one turn, in order; true if the task is done. The answer of a finish counts
// only if the calls beside it went well: it was written before their results were known.
Expected<bool> BaseAgent::run_calls(const ModelReply& reply, const TaskOptions& options,
                                    Outcome& outcome) {
  bool finished = false, failed = false;
  std::string said;
  std::size_t done = 0;
  const ToolContext context{options.bounds.deadline, options.progress};
  for (const auto& call : reply.calls) {
    ToolOutcome result{"Too many calls in one turn; this one was not run.", true, false};
    if (done++ < kMostCallsPerTurn) {
      TRY(result, tools_.call(call, context));
    }
    failed = failed || result.failed;
    if (result.finishes && !failed) {
      finished = true;
      outcome.answer = result.text;
    }
    if (result.finishes && failed) result.text = "Not finished: a call of this turn failed.";
    said += result.text;
    messages_.push_back({Role::Tool, result.text, {}, call.id, result.failed});
  }
  if (options.return_tool_response_as_is && !failed && !finished) {
    finished = true;
    outcome.answer = said;
  }
  return finished;
}

std::optional<std::string> BaseAgent::bound_met(const TaskOptions& options,
                                                const Outcome& outcome) const {
  const Bounds& bounds = options.bounds;
  if (outcome.turns >= bounds.turns)
    return "No answer within " + std::to_string(bounds.turns) + " turns; allow more with --steps.";
  if (Clock::now() >= bounds.deadline)
    return "Out of time before there was an answer; allow more with --within.";
  if (outcome.usage.total() >= bounds.tokens)
    return "The bound on tokens was met before there was an answer; allow more with --tokens.";
  if (bounds.cost_usd > 0 && outcome.cost_usd.value_or(0) >= bounds.cost_usd)
    return "The bound on cost was met before there was an answer; allow more with --cost.";
  return std::nullopt;
}

Expected<Outcome> BaseAgent::task(const std::string& user_task, const TaskOptions& options) {
  tools();
  messages_.push_back({Role::User, user_task});
  Outcome outcome;
  while (true) {
    if (auto met = bound_met(options, outcome)) return stop(outcome, std::move(*met));
    if (!model_.model().empty() && options.progress) options.progress("asking " + model_.model());
    ModelRequest request{messages_};
    if (options.tool_calls) request.tools = tools_.specs();
    request.reasoning_effort = settings_.reasoning_effort;
    TRY(ModelReply reply, model_.reply(request, options.bounds.deadline, options.listener));
    ++outcome.turns;
    outcome.usage += reply.usage;
    if (settings_.prices) outcome.cost_usd = settings_.prices->cost_usd(outcome.usage);
    if (size_of(reply) > kMostReplyBytes)
      return stop(outcome, "The model's reply is larger than 2 MiB; it was not read.");
    messages_.push_back({Role::Assistant, reply.text, reply.calls, "", false, reply.native});
    if (reply.calls.empty()) {
      if (reply.text.empty())
        return stop(outcome, reply.cut ? "The model's reply met its limit of tokens before it said "
                                         "anything; ask for less reasoning."
                                       : "The model gave neither an answer nor code to run.");
      outcome.answered = !reply.gave_up;
      outcome.answer = reply.text;
      if (reply.cut) outcome.answer += "\n\n(The reply was cut at its limit of tokens.)";
      return outcome;
    }
    TRY(bool finished, run_calls(reply, options, outcome));
    if (!finished) continue;
    outcome.answered = true;
    return outcome;
  }
}

}  // namespace jailrun::agent
