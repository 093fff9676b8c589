// jailrun chat: questions about data files, one after the other, at a terminal or a line each.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "agent/base/text.h"
#include "agent/llm/json.h"
#include "agent/record/export.h"
#include "jail/sys/units.h"
#include "tools/full/line_editor.h"
#include "tools/full/pictures.h"
#include "tools/full/question.h"
#include "tools/full/verbs.h"

namespace jailrun::full {
namespace {

using namespace jailrun::agent;
using nlohmann::json;

constexpr int kNoAnswer = 1, kFailure = 125;
constexpr const char* kDim = "\033[2m";
constexpr const char* kPlain = "\033[0m";
constexpr const char* kHelp =
    "Ask in words, or write SQL: … or PYTHON: … to run that.\n"
    "  /undo            forget the last question; the session is as it was before\n"
    "  /branch          go on in a second session from the same state\n"
    "  /back            leave the branch, for the state it was made from\n"
    "  /runs            what was asked here\n"
    "  /data            the data and its columns\n"
    "  /save FILE       what was run, as .ipynb, .html or .json\n"
    "  /quit            end (so does Ctrl-D)\n";

void say(const std::string& text) { (void)write_all(STDOUT_FILENO, text.data(), text.size()); }
void complain(const std::string& text) {
  std::fprintf(stderr, "jailrun: %s\n", printable(text).c_str());
}

class Chat {
 public:
  Chat(QuestionOptions options, const Cancel& cancel)
      : options_(std::move(options)),
        cancel_(cancel),
        recording_(!options_.no_record),
        editor_("questions"),
        at_terminal_(editor_.interactive() && ::isatty(STDOUT_FILENO) != 0) {}

  Expected<int> run();

 private:
  struct Turn {
    std::string run_id;
    std::size_t past;  // messages before it
    json capsule;
    std::vector<KeptFile> files;
  };
  struct Fork {
    std::vector<Message> past;
    std::size_t turns;
  };

  Expected<void> open();
  void greet() const;
  Watcher watcher();
  // False: the question had no answer.
  bool ask(const std::string& question);
  void show(const Answered& answered, bool shown);
  void show_files(const Step& step);
  // False: the conversation ends.
  bool command(const std::string& line);
  void undo();
  void branch();
  void back();
  void save(const std::string& path);
  void list_runs() const;
  Expected<std::string> to_sixel(const std::string& png) const;
  std::string dim(const std::string& text) const {
    return at_terminal_ ? kDim + text + kPlain : text;
  }

  QuestionOptions options_;
  const Cancel& cancel_;
  Recording recording_;
  LineEditor editor_;
  const bool at_terminal_;
  QuestionData data_;
  JailOptions jails_;
  ModelSettings model_;
  Circumstances around_;
  std::unique_ptr<Inquiry> inquiry_;
  std::string thread_, streamed_;
  std::vector<Message> past_;
  std::vector<Turn> turns_;
  std::vector<Fork> forks_;
  Pictures pictures_ = Pictures::None;
};

Expected<void> Chat::open() {
  if (options_.files.empty() && options_.dataset.empty() && options_.thread.empty())
    return std::unexpected(usage_error("no data file", "jailrun chat DATA.csv"));
  if (!options_.thread.empty() && !is_plain_id(options_.thread))
    return std::unexpected(usage_error("--thread " + options_.thread + " is no name",
                                       "1 to 128 of letters, digits, . _ : and -"));
  if (recording_) {
    const auto name = options_.thread == "new" ? std::string() : options_.thread;
    TRY(const ThreadRow thread, recording_.record().thread(Recording::owner(), name));
    TRY(past_, recording_.record().history(Recording::owner(), thread.thread_id));
    thread_ = thread.thread_id;
    if (options_.files.empty() && options_.dataset.empty()) {
      options_.dataset = thread.dataset_id;
      for (const json& file : thread.data)
        if (options_.dataset.empty())
          options_.files.push_back(text_member(file, "origin") + ":" + text_member(file, "name"));
    }
  }
  TRY(const Bounds bounds, bounds_of(options_));
  TRY(data_, gather(options_.files, options_.dataset));
  if (data_.inputs.empty())
    return std::unexpected(usage_error("no data file", "jailrun chat DATA.csv"));
  TRY(model_, choose_model(options_));
  TRY(jails_, jails_of(options_));
  TRY(around_, circumstances_of("", jails_, data_, cancel_));
  InquiryOptions wish{jails_,      model_,         options_.tools,    options_.out,  data_.about,
                      data_.as_of, options_.steps, options_.attempts, options_.fresh};
  TRY(inquiry_, Inquiry::open(std::move(wish), data_.inputs, cancel_, watcher(), bounds.deadline));
  return {};
}

void Chat::greet() const {
  std::string text;
  for (const DataTable& table : inquiry_->tables())
    text += table.file + (table.table.empty() ? "" : " (" + table.table + ")") + ": " +
            (table.error.empty() ? std::to_string(table.rows) + " rows, " +
                                       std::to_string(table.columns_total) + " columns"
                                 : table.error) +
            "\n";
  const auto who = inquiry_->model().empty() ? std::string("no model: fixed rules")
                                             : inquiry_->provider() + " " + inquiry_->model();
  text += who + (inquiry_->lasting() ? "; one session" : "; a fresh jail for each run");
  say(printable(text) + ". /help tells more.\n");
}

Watcher Chat::watcher() {
  Watcher watcher;
  watcher.progress = [this](const std::string& what) {
    spdlog::debug("{}", what);
    if (at_terminal_) say(dim(printable(what)) + "\n");
  };
  watcher.ended = log_step;
  if (!at_terminal_) return watcher;
  watcher.text = [this](std::string_view text) {
    streamed_ += text;
    say(printable(text));
  };
  watcher.again = [this] {
    say(dim("\n(again)") + "\n");
    streamed_.clear();
  };
  watcher.begun = [this](std::size_t, const Step& step) {
    if (!streamed_.empty()) say("\n");
    streamed_.clear();
    const std::string& code = step.sql.empty() ? step.code : step.sql;
    std::string text = code.ends_with('\n') ? code : code + "\n";
    say(dim(printable(text)));
  };
  watcher.out = [](std::string_view text) { say(printable(text)); };
  watcher.err = [this](std::string_view text) { say(dim(printable(text))); };
  watcher.ended = [this](std::size_t number, const Step& step) {
    log_step(number, step);
    if (!step.lasting) say(clip(printable(step.result.out), 16 << 10));
    if (!step.result.ok()) {
      if (!step.lasting) say(dim(tail(printable(step.result.err), 4 << 10)));
      say(printable(step.result.verdict + ": " + step.result.reason) + "\n");
    }
    show_files(step);
  };
  return watcher;
}

void Chat::show_files(const Step& step) {
  for (const auto& file : step.files) {
    std::string shown;
    if (pictures_ != Pictures::None && file.name.ends_with(".png"))
      shown = shown_picture(pictures_, read_file_at(AT_FDCWD, file.path.c_str(), 9 << 20),
                            [this](const std::string& png) { return to_sixel(png); });
    say(shown + dim("file " + printable(file.path)) + "\n");
  }
}

Expected<std::string> Chat::to_sixel(const std::string& png) const {
  std::error_code failed;
  std::string path = (std::filesystem::temp_directory_path(failed) / "jailrun-XXXXXX").string();
  const Fd file(::mkstemp(path.data()));
  const bool written = file.valid() && write_all(file.get(), png.data(), png.size()) == 0;
  Expected<JailResult> done = std::unexpected(cancelled_error());
  if (written)
    done = JailClient(jails_, {{path, "picture.png"}}, cancel_)
               .run(std::string(kSixelProgram), {}, "", Clock::now() + std::chrono::seconds(20));
  if (file.valid()) ::unlink(path.c_str());
  if (!done) return std::unexpected(done.error());
  return done->ok() ? done->out : std::string();
}

void Chat::show(const Answered& answered, bool shown) {
  if (!at_terminal_) return say(as_text(answered.asked, answered.outcome) + "\n");
  if (!shown) say(printable(answered.outcome.answer));
  std::string about = format_duration(answered.asked.wall_ns) + ", " +
                      std::to_string(answered.asked.steps.size()) + " runs";
  if (answered.outcome.usage.total() > 0)
    about += ", " + std::to_string(answered.outcome.usage.total()) + " tokens";
  if (answered.outcome.cost_usd) about += ", US$ " + json(*answered.outcome.cost_usd).dump();
  say("\n" + dim("(" + about + ")") + "\n");
}

bool Chat::ask(const std::string& question) {
  cancel_.clear();  // a Ctrl-C of before
  const auto bounds = bounds_of(options_);
  if (!bounds) {
    complain(bounds.error().line());
    return false;
  }
  if (inquiry_->lasting()) (void)inquiry_->mark();  // without, /undo says so
  auto around = direct_message(question) ? circumstances_of(question, jails_, data_, cancel_)
                                         : Expected<Circumstances>(around_);
  if (!around) {
    complain(around.error().line());
    return false;
  }
  const auto run_id = recording_.begin(question, thread_, *around, inquiry_->model());
  std::optional<LogScope> scope;
  if (!run_id.empty()) scope.emplace("run_id", run_id);
  log_question(question, *around, model_);
  streamed_.clear();
  const auto answered = inquiry_->ask(question, past_, *bounds);
  auto captured =
      answered ? capture(*answered, around_) : capture(question, answered.error(), around_);
  captured.capsule = recording_.redactor().value(std::move(captured.capsule));
  recording_.end(run_id, captured);
  if (!answered) {
    spdlog::error("{}", answered.error().line());
    complain(answered.error().line());
    return false;
  }
  log_answer(*answered);
  captured.capsule["run_id"] = run_id;
  captured.capsule["created_at"] = time_text(now_ms());
  show(*answered, !streamed_.empty() && streamed_ == answered->outcome.answer);
  turns_.push_back({run_id, past_.size(), std::move(captured.capsule), std::move(captured.files)});
  past_.push_back({Role::User, question});
  past_.push_back({Role::Assistant, answered->outcome.answer});
  for (const Step& step : answered->asked.steps)
    if (step.result.ok())
      past_.back().text += "\n\n(It was computed by:\n" +
                           clip(step.sql.empty() ? step.code : step.sql, 4 << 10) + "\n)";
  // Pairs of before the window go.
  while (past_.size() > history_window()) past_.erase(past_.begin(), past_.begin() + 2);
  return answered->outcome.answered;
}

void Chat::undo() {
  if (turns_.empty() || (!forks_.empty() && forks_.back().turns == turns_.size()))
    return complain("there is no question to undo here");
  if (inquiry_->lasting())
    if (const auto done = inquiry_->undo(); !done) return complain(done.error().line());
  if (recording_ && !turns_.back().run_id.empty())
    (void)recording_.record().unsay(Recording::owner(), turns_.back().run_id);
  if (past_.size() >= 2) past_.resize(past_.size() - 2);
  turns_.pop_back();
  say("undone\n");
}

void Chat::branch() {
  if (const auto done = inquiry_->branch(); !done) return complain(done.error().line());
  forks_.push_back({past_, turns_.size()});
  say("in branch " + std::to_string(forks_.size()) + "; /back leaves it\n");
}

void Chat::back() {
  if (forks_.empty()) return complain("this is no branch; /branch makes one");
  if (const auto done = inquiry_->leave_branch(); !done) return complain(done.error().line());
  past_ = std::move(forks_.back().past);
  forks_.pop_back();
  say("back where the branch was made\n");
}

void Chat::list_runs() const {
  for (const Turn& turn : turns_)
    say(printable((turn.run_id.empty() ? "(not recorded)" : turn.run_id) + "  " +
                  text_member(turn.capsule, "status") + "  " +
                  text_member(turn.capsule, "question")) +
        "\n");
}

void Chat::save(const std::string& path) {
  if (turns_.empty()) return complain("nothing was run yet");
  std::string text;
  if (path.ends_with(".ipynb")) {
    std::vector<std::string> notebooks;
    for (const Turn& turn : turns_) notebooks.push_back(notebook_of(turn.capsule, turn.files));
    text = joined_notebooks(notebooks);
  } else if (path.ends_with(".html")) {
    text = report_of(turns_.back().capsule, turns_.back().files);
  } else if (path.ends_with(".json")) {
    json all = json::array();
    for (const Turn& turn : turns_) all.push_back(turn.capsule);
    text = dump_json(all) + "\n";
  } else {
    return complain("name a file that ends in .ipynb, .html or .json");
  }
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  const int failed = file.valid() ? write_all(file.get(), text.data(), text.size()) : errno;
  if (failed != 0) return complain("cannot write " + path + ": " + errno_name(failed));
  say("saved " + printable(path) + "\n");
}

bool Chat::command(const std::string& line) {
  const auto space = std::min(line.find(' '), line.size());
  const auto word = line.substr(0, space);
  const auto rest = line.substr(std::min(line.find_first_not_of(' ', space), line.size()));
  if (word == "/quit" || word == "/exit" || line == "exit" || line == "quit") return false;
  if (word == "/undo")
    undo();
  else if (word == "/branch")
    branch();
  else if (word == "/back")
    back();
  else if (word == "/runs")
    list_runs();
  else if (word == "/data")
    say(printable(describe_text(inquiry_->tables())));
  else if (word == "/save")
    save(rest);
  else if (word == "/help")
    say(kHelp);
  else
    complain("there is no " + word + "; /help lists what there is");
  return true;
}

Expected<int> Chat::run() {
  if (at_terminal_) pictures_ = pictures_of(STDOUT_FILENO);
  TRY_VOID(open());
  if (at_terminal_) greet();
  bool all = true;
  while (true) {
    const auto line = editor_.read_line("? ");
    if (!line) break;
    const auto from = line->find_first_not_of(" \t\r");
    if (from == std::string::npos) continue;
    const auto text = line->substr(from, line->find_last_not_of(" \t\r") - from + 1);
    editor_.remember(text);
    if (text.starts_with('/') || text == "exit" || text == "quit") {
      if (!command(text)) break;
    } else {
      all = ask(text) && all;
    }
  }
  if (at_terminal_ && !thread_.empty() && !turns_.empty())
    say("go on with: jailrun chat --thread " + thread_ + "\n");
  TRY_VOID(inquiry_->finish());
  return all ? 0 : kNoAnswer;
}

int chat(const QuestionOptions& options) {
  signal(SIGPIPE, SIG_IGN);
  const auto logs = begin_log("chat", options);
  const auto done = [&]() -> Expected<int> {
    if (!logs) return std::unexpected(logs.error());
    const auto cancel = Cancel::on_signals();
    if (!cancel) return std::unexpected(cancel.error());
    return Chat(options, *cancel).run();
  }();
  if (done) return *done;
  if (logs) spdlog::error("{}", done.error().line());
  complain(done.error().line());
  return kFailure;
}

}  // namespace

void add_chat(CLI::App& app, int& status) {
  const auto options = std::make_shared<QuestionOptions>();
  CLI::App* verb = app.add_subcommand(
      "chat", "ask about data files in a conversation; without a terminal, a question a line");
  verb->add_option("FILE", options->files,
                   "data files: csv, tsv, xlsx, json, parquet or sqlite, or store:ID")
      ->type_name("SRC[:NAME]");
  add_question_options(*verb, *options);
  verb->callback([options, &status] { status = chat(*options); });
}

}  // namespace jailrun::full
