#include "tools/full/question.h"

#include <unistd.h>

#include <cstdio>

#include "agent/base/text.h"
#include "agent/data/inputs.h"
#include "agent/datasets/registry.h"
#include "jail/sys/units.h"
#include "tools/full/files.h"

namespace jailrun::full {

using namespace jailrun::agent;

Error usage_error(std::string message, std::string remedy) {
  return Error{Stage::None, "ask", 0, std::move(message), std::move(remedy)};
}

void add_question_options(CLI::App& verb, QuestionOptions& options) {
  verb.add_option("--dataset", options.dataset,
                  "a registered data set instead of files; `jailrun datasets ls` names them")
      ->type_name("DATASET");
  verb.add_option("--out", options.out,
                  "directory for plots and files (default ./jailrun-out-ID, made when needed)")
      ->type_name("DIR");
  verb.add_option("--provider", options.model.provider,
                  "who is asked (default: LLM_PROVIDER, else whoever has a key, else offline, "
                  "which asks no model)")
      ->check(CLI::IsMember({"auto", "openai", "anthropic", "compatible", "recorded", "offline"}));
  verb.add_option("--model", options.model.model,
                  "name of the model, instead of OPENAI_MODEL and the like");
  verb.add_option("--effort", options.model.effort,
                  "how much a model shall reason: minimal, low, medium, high");
  verb.add_option("--tool", options.tools,
                  "a JSON manifest of one more tool, which runs in a jail; repeatable")
      ->type_name("FILE")
      ->allow_extra_args(false);
  verb.add_flag("--fresh", options.fresh,
                "every run in a fresh jail, even where jaild would give a session");
  verb.add_option("--policy", options.policy, "policy of the jails");
  verb.add_option("--set", options.sets,
                  "a field of the policy, such as limits.memory=1GiB; repeatable")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
  verb.add_option("--timeout", options.timeout, "wall time of one run, such as 30s")
      ->type_name("DURATION");
  verb.add_option("--within", options.within, "wall time of a question (default 10m)")
      ->type_name("DURATION");
  verb.add_option("--steps", options.steps, "runs of a question at most (default 8)")
      ->check(CLI::Range(1, 100));
  verb.add_option("--attempts", options.attempts,
                  "tries at most, each in a branch of the session; the first that answers is kept")
      ->check(CLI::Range(1, 10));
  verb.add_option("--tokens", options.tokens, "tokens of a question at most (default 400000)");
  verb.add_option("--cost", options.cost_usd, "US$ of a question at most; needs LLM_PRICES")
      ->check(CLI::PositiveNumber);
  verb.add_option("--thread", options.thread,
                  "go on with the conversation of this name, or begin it; `new`: name it for me")
      ->type_name("NAME");
  verb.add_flag("--no-record", options.no_record,
                "leave no record of questions and runs (see `jailrun runs`)");
  verb.add_flag("-v,--verbose", options.verbose,
                "tell on stderr what is being done: --log-level debug");
  add_log_options(verb, options.log);
}

bool log_is_shown(const QuestionOptions& options) {
  return options.verbose || !options.log.level.empty() || !options.log.format.empty();
}

Expected<void> begin_log(const std::string& verb, const QuestionOptions& options) {
  LogOptions log = options.log;
  if (options.verbose) log.level = "debug";
  const auto without_keys = [redactor = Redactor::from_environment()](const std::string& text) {
    return printable(redactor.text(text));
  };
  TRY_VOID(open_log(verb, log, log_is_shown(options), without_keys));
  return {};
}

void log_question(const std::string& question, const Circumstances& around,
                  const ModelSettings& model) {
  spdlog::info("asks {} about {} file{}{}",
               model.model.empty() ? name(model.provider) : model.model, around.data.size(),
               around.data.size() == 1 ? "" : "s",
               around.dataset_id.empty() ? "" : " of data set " + around.dataset_id);
  spdlog::debug("question: {}", question);
}

void log_step(std::size_t number, const Step& step) {
  const auto& result = step.result;
  const auto took = format_duration(result.wall_ns);
  if (result.ok())
    spdlog::info("run {}: {} in {}, files: {}", number, result.verdict, took, step.files.size());
  else
    spdlog::warn("run {}: {} in {}: {}", number, result.verdict, took, result.reason);
}

void log_answer(const Answered& answered) {
  const auto& outcome = answered.outcome;
  const auto about = std::to_string(answered.asked.steps.size()) + " runs, " +
                     std::to_string(outcome.usage.total()) + " tokens, " +
                     format_duration(answered.asked.wall_ns);
  if (outcome.answered)
    spdlog::info("answered: {}", about);
  else
    spdlog::error("no answer: {}: {}", about, clip(outcome.answer, 300));
}

Expected<QuestionData> gather(const std::vector<std::string>& files, const std::string& dataset) {
  QuestionData data;
  if (!dataset.empty()) {
    if (!files.empty())
      return std::unexpected(usage_error("both --dataset and files were named", "name one"));
    TRY(const DatasetRegistry registry, DatasetRegistry::load());
    TRY(const Dataset found, registry.open(dataset));
    data.inputs = inputs_of(found);
    for (agent::Input& input : data.inputs) input.origin = "dataset:" + found.id;
    data.dataset_id = found.id;
    data.dataset_hash = found.version_hash;
    data.about = dataset_text(found);
    data.as_of = found.as_of;
    return data;
  }
  StoredInputs store;
  std::vector<std::string> sources;
  std::vector<std::pair<std::string, std::string>> origins;
  for (const auto& file : files) {
    TRY(std::optional<OpenedInput> stored, store.open(file));
    if (!stored) {
      sources.push_back(file);
      continue;
    }
    // By a name that jailrun, our child, can open as well.
    const auto path =
        "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(stored->file.get());
    sources.push_back(path + ":" + stored->name);
    origins.emplace_back(path, file);
    data.held.push_back(std::move(stored->file));
  }
  TRY(data.inputs, check_inputs(sources));
  for (agent::Input& input : data.inputs)
    for (const auto& [path, origin] : origins)
      if (input.source == path) input.origin = origin;
  return data;
}

Expected<ModelSettings> choose_model(const QuestionOptions& options) {
  TRY(const Environment environment, Environment::load());
  TRY(ModelSettings settings, model_settings(options.model, environment));
  if (options.cost_usd > 0 && !settings.prices)
    return std::unexpected(usage_error("--cost was given, but no prices are known",
                                       "set LLM_PRICES to US$ for a million tokens, "
                                       "INPUT/CACHED/OUTPUT, such as 0.40/0.10/1.60"));
  return settings;
}

Expected<JailOptions> jails_of(const QuestionOptions& options) {
  TRY(std::string jailrun, find_jailrun());
  return JailOptions{std::move(jailrun), options.policy, options.sets, options.timeout};
}

Expected<Circumstances> circumstances_of(const std::string& question, const JailOptions& jails,
                                         const QuestionData& data, const Cancel& cancel) {
  const auto direct = direct_message(question);
  TRY(Circumstances around,
      circumstances(direct ? direct_options(jails, direct->mode) : jails, data.inputs, cancel));
  around.dataset_id = data.dataset_id;
  around.dataset_hash = data.dataset_hash;
  return around;
}

Expected<Bounds> bounds_of(const QuestionOptions& options) {
  const auto within_ns = parse_duration_ns(options.within);
  if (!within_ns || *within_ns > 86'400'000'000'000ULL)
    return std::unexpected(usage_error("--within " + options.within + " is no duration",
                                       "write it as 90s or 10m; at most 24h"));
  return Bounds{options.steps * 2 + 2, options.tokens, options.cost_usd,
                Clock::now() + std::chrono::nanoseconds(*within_ns)};
}

Recording::Recording(bool wanted) : redactor_(Redactor::from_environment()) {
  if (!wanted) return;
  auto path = Record::default_path();
  auto opened = path ? Record::open(*path, redactor_) : std::unexpected(path.error());
  if (opened)
    record_.emplace(std::move(*opened));
  else
    give_up(opened.error());
}

std::string Recording::owner() { return "uid:" + std::to_string(::geteuid()); }

void Recording::give_up(const Error& error) {
  record_.reset();
  std::fprintf(stderr, "jailrun: this is not recorded: %s\n", printable(error.line()).c_str());
}

std::string Recording::begin(const std::string& question, const std::string& thread,
                             const Circumstances& around, const std::string& model) {
  if (!record_) return {};
  const auto id = record_->begin({owner(), thread, question, around.dataset_id, model});
  if (id && !thread.empty())
    if (const auto set = record_->set_data(owner(), thread, around.data, around.dataset_id); !set)
      give_up(set.error());
  if (id) return *id;
  give_up(id.error());
  return {};
}

void Recording::end(const std::string& run_id, const Captured& captured) {
  if (!record_ || run_id.empty()) return;
  if (const auto done = record_->end(owner(), run_id, captured); !done) give_up(done.error());
}

}  // namespace jailrun::full
