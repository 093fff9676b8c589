// jailrun ask: a question about data files, answered by code that runs in jails.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "agent/agents/analyst.h"
#include "agent/agents/present.h"
#include "agent/base/text.h"
#include "agent/data/inputs.h"
#include "agent/llm/settings.h"
#include "agent/offline/model.h"
#include "agent/tools/manifest.h"
#include "jail/sys/units.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

using namespace jailrun::agent;

enum Exit { kAnswered = 0, kNoAnswer = 1, kFailure = 125, kCancelled = 130 };

struct Options {
  std::vector<std::string> files, words, sets, tools;
  std::string question, out, policy, timeout, within = "10m";
  ModelChoice model;
  std::size_t steps = 8;
  std::uint64_t tokens = 400'000;
  double cost_usd = 0;
  bool json = false, verbose = false, fresh = false;
};

Error usage_error(std::string message, std::string remedy) {
  return Error{Stage::None, "ask", 0, std::move(message), std::move(remedy)};
}

std::string question_of(const Options& options) {
  std::string out = options.question;
  for (const auto& word : options.words) out += (out.empty() ? "" : " ") + word;
  return out;
}

struct Answered {
  Asked asked;
  Outcome outcome;
};

// What can be checked before anything is done.
Expected<Bounds> check(const Options& options, const std::string& question, Deadline start) {
  auto within_ns = parse_duration_ns(options.within);
  if (question.empty())
    return std::unexpected(usage_error("no question", "jailrun ask --file DATA.csv \"question\""));
  if (question.size() > 16384)
    return std::unexpected(usage_error("the question is longer than 16 KiB", "shorten it"));
  if (options.files.empty())
    return std::unexpected(usage_error("no data file", "name one with --file DATA.csv"));
  if (!within_ns || *within_ns > 86'400'000'000'000ULL)
    return std::unexpected(usage_error("--within " + options.within + " is no duration",
                                       "write it as 90s or 10m; at most 24h"));
  return Bounds{options.steps * 2 + 2, options.tokens, options.cost_usd,
                start + std::chrono::nanoseconds(*within_ns)};
}

Expected<ModelSettings> choose_model(const Options& options) {
  TRY(const Environment environment, Environment::load());
  TRY(ModelSettings settings, model_settings(options.model, environment));
  if (options.cost_usd > 0 && !settings.prices)
    return std::unexpected(usage_error("--cost was given, but no prices are known",
                                       "set LLM_PRICES to US$ for a million tokens, "
                                       "INPUT/CACHED/OUTPUT, such as 0.40/0.10/1.60"));
  return settings;
}

// A session where jaild gives one; else nothing.
std::unique_ptr<Interpreter> open_session(const Options& options, const JailOptions& jails,
                                          const JailClient& client, const Cancel& cancel,
                                          spdlog::logger& log) {
  if (options.fresh) return nullptr;
  auto session = make_session(jails, client.inputs(), cancel);
  if (session) return std::move(*session);
  log.info("every run in a fresh jail: {}", printable(session.error().line()));
  return nullptr;
}

Expected<Answered> run(const Options& options, const Cancel& cancel, spdlog::logger& log) {
  auto start = Clock::now();
  Asked asked;
  asked.question = question_of(options);
  TRY(const Bounds bounds, check(options, asked.question, start));
  TRY(auto inputs, check_inputs(options.files));
  TRY(const ModelSettings settings, choose_model(options));
  TRY(std::string jailrun, find_jailrun());
  const JailOptions jails{jailrun, options.policy, options.sets, options.timeout};
  JailClient client(jails, std::move(inputs), cancel);
  std::vector<std::unique_ptr<Tool>> custom;
  for (const auto& path : options.tools) {
    TRY(custom.emplace_back(), read_manifest(path, client));
  }
  std::unique_ptr<LanguageModel> model;
  if (settings.provider != Provider::Offline) {
    TRY(model, make_model(settings, cancel));
  }
  TRY(Workspace workspace, Workspace::open(options.out));
  log.info("describing the data in a jail");
  TRY(asked.tables, describe(client, bounds.deadline));
  if (!model) model = offline::make_model(asked.question, asked.tables);
  asked.notes = data_notes(asked.tables);
  asked.provider = model->provider();
  asked.model = model->model();

  const auto fresh = make_fresh_jails(client);
  const auto session = open_session(options, jails, client, cancel, log);
  Bench bench{
      session ? *session : *fresh, *fresh, workspace, client.inputs(), asked.tables, options.steps};
  Analyst analyst(bench, *model, settings.effort, settings.prices, std::move(custom));
  TaskOptions task;
  task.bounds = bounds;
  task.progress = [&](const std::string& what) { log.info(printable(what)); };
  task.listener.waiting = task.progress;
  TRY(Outcome outcome, analyst.ask(asked.question, task));
  TRY_VOID(model->finish());
  asked.steps = std::move(bench.steps);
  asked.wall_ns =
      static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - start).count());
  return Answered{std::move(asked), std::move(outcome)};
}

int say(const std::string& text, int status) {
  int failed = write_all(STDOUT_FILENO, text.data(), text.size());
  if (failed == 0) return status;
  std::fprintf(stderr, "jailrun: cannot write the answer to stdout: %s\n",
               errno_name(failed).c_str());
  return kFailure;
}

int ask(const Options& options) {
  signal(SIGPIPE, SIG_IGN);  // a closed stdout is told, not died of
  spdlog::logger log("ask", std::make_shared<spdlog::sinks::stderr_sink_st>());
  log.set_pattern(options.verbose ? "[%H:%M:%S.%e] %v" : "%v");
  log.set_level(options.verbose || isatty(STDERR_FILENO) != 0 ? spdlog::level::info
                                                              : spdlog::level::off);

  auto cancel = Cancel::on_signals();
  Expected<Answered> done = cancel ? run(options, *cancel, log) : std::unexpected(cancel.error());
  if (done) {
    auto text =
        options.json ? as_json(done->asked, done->outcome) : as_text(done->asked, done->outcome);
    return say(text, done->outcome.answered ? kAnswered : kNoAnswer);
  }
  std::fprintf(stderr, "jailrun: %s\n", printable(done.error().line()).c_str());
  int status = is_cancelled(done.error()) ? kCancelled : kFailure;
  return options.json ? say(as_json(done.error()), status) : status;
}

}  // namespace

void add_ask(CLI::App& app, int& status) {
  auto options = std::make_shared<Options>();
  auto* verb =
      app.add_subcommand("ask", "answer a question about data files by code that runs in jails");
  verb->alias("analyze");
  verb->add_option("-f,--file", options->files,
                   "a data file: csv, tsv, xlsx, json, parquet or sqlite; repeatable")
      ->type_name("SRC[:NAME]")
      ->allow_extra_args(false);
  verb->add_option("-q,--question", options->question,
                   "the question; the same as the words at the end")
      ->type_name("TEXT");
  verb->add_option("words", options->words, "the question")->type_name("QUESTION");
  verb->add_option("--out", options->out,
                   "directory for plots and files (default ./jailrun-out-ID, made when needed)")
      ->type_name("DIR");
  verb->add_option("--provider", options->model.provider,
                   "who is asked (default: LLM_PROVIDER, else whoever has a key, else offline, "
                   "which asks no model)")
      ->check(CLI::IsMember({"auto", "openai", "anthropic", "compatible", "recorded", "offline"}));
  verb->add_option("--model", options->model.model,
                   "name of the model, instead of OPENAI_MODEL and the like");
  verb->add_option("--effort", options->model.effort,
                   "how much a model shall reason: minimal, low, medium, high");
  verb->add_option("--tool", options->tools,
                   "a JSON manifest of one more tool, which runs in a jail; repeatable")
      ->type_name("FILE")
      ->allow_extra_args(false);
  verb->add_flag("--fresh", options->fresh,
                 "every run in a fresh jail, even where jaild would give a session");
  verb->add_option("--policy", options->policy, "policy of the jails");
  verb->add_option("--set", options->sets,
                   "a field of the policy, such as limits.memory=1GiB; repeatable")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
  verb->add_option("--timeout", options->timeout, "wall time of one run, such as 30s")
      ->type_name("DURATION");
  verb->add_option("--within", options->within, "wall time of the whole (default 10m)")
      ->type_name("DURATION");
  verb->add_option("--steps", options->steps, "runs at most (default 8)")
      ->check(CLI::Range(1, 100));
  verb->add_option("--tokens", options->tokens, "tokens at most (default 400000)");
  verb->add_option("--cost", options->cost_usd, "US$ at most; needs LLM_PRICES")
      ->check(CLI::PositiveNumber);
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->add_flag("-v,--verbose", options->verbose, "tell on stderr what is being done");
  verb->callback([options, &status] { status = ask(*options); });
}

}  // namespace jailrun::full
