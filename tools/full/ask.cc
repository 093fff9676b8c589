// jailrun ask: a question about data files, answered by code that runs in jails.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "agent/chat_completions.h"
#include "agent/inputs.h"
#include "agent/offline/provider.h"
#include "agent/present.h"
#include "agent/text.h"
#include "jail/sys/units.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

using namespace jailrun::agent;

enum Exit { kAnswered = 0, kNoAnswer = 1, kFailure = 125, kCancelled = 130 };

struct Options {
  std::vector<std::string> files, words, sets;
  std::string question, out, provider, model, policy, timeout, within = "10m";
  std::size_t steps = 8;
  std::uint64_t tokens = 400'000;
  bool json = false, verbose = false;
};

Error usage_error(std::string message, std::string remedy) {
  return Error{Stage::None, "ask", 0, std::move(message), std::move(remedy)};
}

std::string question_of(const Options& options) {
  std::string out = options.question;
  for (const auto& word : options.words) out += (out.empty() ? "" : " ") + word;
  return out;
}

Expected<std::unique_ptr<Provider>> make_provider(const Options& options, const Cancel& cancel) {
  auto* key = std::getenv("OPENAI_API_KEY");
  bool offline =
      options.provider.empty() ? key == nullptr || *key == '\0' : options.provider == "offline";
  if (offline && options.provider.empty() && !options.model.empty())
    return std::unexpected(
        usage_error("--model " + options.model + " was given, but OPENAI_API_KEY is not set",
                    "set it, or use --provider openai for a server that wants no key"));
  if (offline) return offline::make_provider();
  TRY(ChatSettings settings, chat_settings(options.model));
  return make_chat_provider(std::move(settings), cancel);
}

struct Answered {
  Asked asked;
  Outcome outcome;
};

Expected<Answered> run(const Options& options, const Cancel& cancel, spdlog::logger& log) {
  auto start = Clock::now();
  auto within_ns = parse_duration_ns(options.within);
  Asked asked;
  asked.question = question_of(options);
  if (asked.question.empty())
    return std::unexpected(usage_error("no question", "jailrun ask --file DATA.csv \"question\""));
  if (asked.question.size() > 16384)
    return std::unexpected(usage_error("the question is longer than 16 KiB", "shorten it"));
  if (options.files.empty())
    return std::unexpected(usage_error("no data file", "name one with --file DATA.csv"));
  if (!within_ns || *within_ns > 86'400'000'000'000ULL)
    return std::unexpected(usage_error("--within " + options.within + " is no duration",
                                       "write it as 90s or 10m; at most 24h"));
  Bounds bounds{options.steps, options.steps * 2 + 2, options.tokens,
                start + std::chrono::nanoseconds(*within_ns)};

  TRY(auto inputs, check_inputs(options.files));
  TRY(auto provider, make_provider(options, cancel));
  TRY(std::string jailrun, find_jailrun());
  TRY(Workspace workspace, Workspace::open(options.out));
  JailClient client({jailrun, options.policy, options.sets, options.timeout}, std::move(inputs),
                    cancel);
  log.info("describing the data in a jail");
  TRY(asked.tables, describe(client, bounds.deadline));
  asked.notes = data_notes(asked.tables);
  asked.provider = provider->name();
  asked.model = provider->model();

  Conversation conversation{asked.question, asked.tables, {}, {}};
  TRY(Outcome outcome, answer(*provider, std::move(conversation), client, workspace, bounds,
                              [&](const std::string& what) { log.info(what); }));
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
  verb->add_option(
          "--provider", options->provider,
          "openai (OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_MODEL) or offline, which asks no model "
          "and is the default without a key")
      ->check(CLI::IsMember({"openai", "offline"}));
  verb->add_option("--model", options->model, "name of the model, instead of OPENAI_MODEL");
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
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->add_flag("-v,--verbose", options->verbose, "tell on stderr what is being done");
  verb->callback([options, &status] { status = ask(*options); });
}

}  // namespace jailrun::full
