// jailrun ask: a question about data files, answered by code that runs in jails.
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "agent/base/text.h"
#include "agent/record/export.h"
#include "tools/full/question.h"
#include "tools/full/replay.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

using namespace jailrun::agent;

enum Exit { kAnswered = 0, kNoAnswer = 1, kFailure = 125, kCancelled = 130 };

struct Options : QuestionOptions {
  std::vector<std::string> words;
  std::string question, notebook, report, replay;
  bool json = false;
};

std::string question_of(const Options& options) {
  std::string out = options.question;
  for (const auto& word : options.words) out += (out.empty() ? "" : " ") + word;
  return out;
}

// What can be checked before anything is done.
Expected<void> check(const Options& options, const std::string& question) {
  if (question.empty())
    return std::unexpected(usage_error("no question", "jailrun ask --file DATA.csv \"question\""));
  if (question.size() > 16384)
    return std::unexpected(usage_error("the question is longer than 16 KiB", "shorten it"));
  if (options.files.empty() && options.dataset.empty() && options.thread.empty())
    return std::unexpected(usage_error("no data file", "name one with --file DATA.csv"));
  if (!options.thread.empty() && !is_plain_id(options.thread))
    return std::unexpected(usage_error("--thread " + options.thread + " is no name",
                                       "1 to 128 of letters, digits, . _ : and -"));
  if (!options.thread.empty() && options.no_record)
    return std::unexpected(
        usage_error("--thread needs the record that --no-record leaves out", "name one of them"));
  for (const auto& path : {options.notebook, options.report}) {
    struct stat status{};
    if (!path.empty() && ::lstat(path.c_str(), &status) == 0)
      return std::unexpected(usage_error(path + " is there already", "name a file that is not"));
  }
  return {};
}

// Text as the model says it, on a terminal; what is the answer need not be printed again.
class Stream {
 public:
  explicit Stream(int fd) : fd_(fd) {}
  void put(std::string_view text) {
    whole_ += text;
    const auto shown = printable(text);
    (void)write_all(fd_, shown.data(), shown.size());
  }
  void end_line() {
    if (!whole_.empty()) (void)write_all(fd_, "\n\n", 2);
    whole_.clear();
  }
  bool showed(const std::string& answer) const { return !answer.empty() && whole_ == answer; }

 private:
  int fd_;
  std::string whole_;  // since the last step
};

// Where text is shown while it comes: a terminal; -1: nowhere.
int stream_fd(const Options& options) {
  if (options.json || ::isatty(STDOUT_FILENO) == 0) return ::isatty(STDERR_FILENO) != 0 ? 2 : -1;
  return 1;
}

struct Done {
  Answered answered;
  Captured captured;
  bool shown = false;  // the answer, on stdout
};

// The thread, with its data where the command names none.
Expected<ThreadRow> find_thread(Recording& recording, Options& options) {
  if (!recording)
    return std::unexpected(usage_error("a thread needs the record", "see what is said above"));
  const auto name = options.thread == "new" ? std::string() : options.thread;
  TRY(ThreadRow thread, recording.record().thread(Recording::owner(), name));
  if (!options.files.empty() || !options.dataset.empty()) return thread;
  options.dataset = thread.dataset_id;
  if (options.dataset.empty())
    for (const auto& file : thread.data)
      if (file.is_object())
        options.files.push_back(file.value("origin", "") + ":" + file.value("name", ""));
  if (options.files.empty() && options.dataset.empty())
    return std::unexpected(usage_error("the thread " + thread.thread_id + " has no data yet",
                                       "name a file with --file DATA.csv"));
  return thread;
}

// `scope`: begins with the run, and covers what is logged of it afterwards.
Expected<Done> run(Options& options, const Cancel& cancel, std::optional<LogScope>& scope,
                   Recording& recording) {
  const auto question = question_of(options);
  TRY_VOID(check(options, question));
  TRY(const Bounds bounds, bounds_of(options));
  ThreadRow thread;
  if (!options.thread.empty()) {
    TRY(thread, find_thread(recording, options));
  }
  TRY(QuestionData data, gather(options.files, options.dataset));
  TRY(const ModelSettings settings, choose_model(options));
  TRY(const JailOptions jails, jails_of(options));
  TRY(const Circumstances around, circumstances_of(question, jails, data, cancel));
  const auto run_id = recording.begin(question, thread.thread_id, around, settings.model);
  if (!run_id.empty()) scope.emplace("run_id", run_id);
  log_question(question, around, settings);
  const auto progress = [shown = log_is_shown(options) ||
                                 ::isatty(STDERR_FILENO) == 0](const std::string& what) {
    spdlog::debug("{}", what);
    if (!shown) std::fprintf(stderr, "%s\n", printable(what).c_str());
  };
  if (!thread.thread_id.empty()) progress("thread " + thread.thread_id);

  Stream stream(stream_fd(options));
  Watcher watcher;
  watcher.progress = progress;
  watcher.ended = log_step;
  if (stream_fd(options) >= 0) {
    watcher.text = [&](std::string_view text) { stream.put(text); };
    watcher.again = watcher.text ? [&] { stream.end_line(); } : std::function<void()>();
    watcher.begun = [&](std::size_t, const Step&) { stream.end_line(); };
  }
  InquiryOptions wish{jails,      settings,      options.tools,    options.out,  data.about,
                      data.as_of, options.steps, options.attempts, options.fresh};
  const auto ask = [&]() -> Expected<Answered> {
    TRY(auto inquiry, Inquiry::open(wish, data.inputs, cancel, watcher, bounds.deadline));
    std::vector<Message> past;
    if (!thread.thread_id.empty()) {
      TRY(past, recording.record().history(Recording::owner(), thread.thread_id));
    }
    TRY(Answered answered, inquiry->ask(question, past, bounds));
    TRY_VOID(inquiry->finish());
    return answered;
  };
  auto answered = ask();
  if (!answered) {
    recording.end(run_id, capture(question, answered.error(), around));
    return std::unexpected(answered.error());
  }
  answered->asked.run_id = run_id;
  answered->asked.thread_id = thread.thread_id;
  Done done{std::move(*answered), {}, false};
  done.captured = capture(done.answered, around);
  recording.end(run_id, done.captured);
  done.shown = stream_fd(options) == 1 && stream.showed(done.answered.outcome.answer);
  if (done.shown) (void)write_all(STDOUT_FILENO, "\n", 1);
  return done;
}

Expected<void> save(const std::string& path, const std::string& content) {
  if (path.empty()) return {};
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  const int failed = file.valid() ? write_all(file.get(), content.data(), content.size()) : errno;
  if (failed == 0) return {};
  return std::unexpected(Error{Stage::None, path, failed, "cannot write " + path,
                               "name a file that is not there yet, where you can write"});
}

// Of the capsule without keys, as it is recorded.
Expected<void> export_to(const Options& options, const Recording& recording, const Done& done) {
  auto capsule = recording.redactor().value(done.captured.capsule);
  capsule["run_id"] = done.answered.asked.run_id;
  capsule["created_at"] = time_text(now_ms());
  if (!options.notebook.empty())
    TRY_VOID(save(options.notebook, notebook_of(capsule, done.captured.files)));
  if (!options.report.empty())
    TRY_VOID(save(options.report, report_of(capsule, done.captured.files)));
  return {};
}

int say(const std::string& text, int status) {
  int failed = write_all(STDOUT_FILENO, text.data(), text.size());
  if (failed == 0) return status;
  std::fprintf(stderr, "jailrun: cannot write the answer to stdout: %s\n",
               errno_name(failed).c_str());
  return kFailure;
}

int ask(Options& options) {
  signal(SIGPIPE, SIG_IGN);  // a closed stdout is told, not died of
  const auto logs = begin_log("ask", options);
  std::optional<LogScope> scope;
  const auto fail = [&](const Error& error) {
    if (logs) spdlog::error("{}", error.line());
    std::fprintf(stderr, "jailrun: %s\n", printable(error.line()).c_str());
    const int status = is_cancelled(error) ? kCancelled : kFailure;
    return options.json ? say(as_json(error), status) : status;
  };
  if (!logs) return fail(logs.error());
  const auto cancel = Cancel::on_signals();
  if (!cancel) return fail(cancel.error());
  Recording recording(!options.no_record);
  if (!options.replay.empty()) {
    const auto told = replay_run(options.replay, options, *cancel, recording, options.json);
    return told ? say(told->text, told->status) : fail(told.error());
  }
  const auto done = run(options, *cancel, scope, recording);
  if (!done) return fail(done.error());
  if (const auto saved = export_to(options, recording, *done); !saved) return fail(saved.error());
  const Answered& answered = done->answered;
  log_answer(answered);
  if (options.thread == "new" && !options.json)
    std::fprintf(stderr, "jailrun: thread %s\n", answered.asked.thread_id.c_str());
  return say(options.json ? as_json(answered.asked, answered.outcome)
                          : as_text(answered.asked, answered.outcome, !done->shown),
             answered.outcome.answered ? kAnswered : kNoAnswer);
}

}  // namespace

void add_ask(CLI::App& app, int& status) {
  auto options = std::make_shared<Options>();
  auto* verb =
      app.add_subcommand("ask", "answer a question about data files by code that runs in jails");
  verb->alias("analyze");
  verb->add_option("-f,--file", options->files,
                   "a data file: csv, tsv, xlsx, json, parquet or sqlite, or store:ID; repeatable")
      ->type_name("SRC[:NAME]")
      ->allow_extra_args(false);
  verb->add_option("-q,--question", options->question,
                   "the question; the same as the words at the end")
      ->type_name("TEXT");
  verb->add_option("words", options->words, "the question")->type_name("QUESTION");
  add_question_options(*verb, *options);
  verb->add_option("--save-notebook", options->notebook, "write what was run as a Jupyter notebook")
      ->type_name("FILE");
  verb->add_option("--html", options->report, "write a report, one page that needs no other file")
      ->type_name("FILE");
  verb->add_option("--replay", options->replay,
                   "run the code of a recorded run, or of an exported one, again and say what "
                   "differs; no model is asked. Exit status 1: something does")
      ->type_name("FILE");
  verb->add_flag("--json", options->json, "print one JSON object");
  verb->callback([options, &status] { status = ask(*options); });
}

}  // namespace jailrun::full
