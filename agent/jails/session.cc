// A session as an Interpreter: each run is a transaction.
#include <fcntl.h>

#include <filesystem>

#include "agent/base/text.h"
#include "agent/jails/interpreter.h"
#include "jail/session/session.h"
#include "jail/sys/units.h"

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMostFiles = 200;
constexpr std::size_t kMostStates = 16;  // a session holds 24, and each run needs one
constexpr std::size_t kMostMarks = 6;
constexpr std::uint64_t kMostBytes = 512u << 20;  // of the files of one run

// Below `dir`, whatever the guest calls its file; empty for names that lead elsewhere.
fs::path place_below(const std::string& dir, const std::string& name) {
  const auto clean = fs::path(name).lexically_normal();
  if (clean.empty() || clean.is_absolute() || *clean.begin() == ".." || clean == ".") return {};
  return fs::path(dir) / clean;
}

void write_new(const fs::path& path, const std::string& content) {
  std::error_code ignored;
  fs::create_directories(path.parent_path(), ignored);
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
  if (file.valid()) (void)write_all(file.get(), content.data(), content.size());
}

// A program that saves its figures leaves them open as well: they would be shown twice.
bool has_picture(const JailResult& result) {
  for (const auto& file : result.files)
    for (const char* suffix : {".png", ".svg", ".pdf", ".jpg", ".jpeg"})
      if (lower(file.name).ends_with(suffix)) return true;
  return false;
}

std::string traceback_of(const Json& head) {
  const auto error = head.find("error");
  if (error == head.end() || !error->is_object()) return "";
  auto text = text_of(*error, "traceback");
  if (text.empty()) text = text_of(*error, "type") + ": " + text_of(*error, "message");
  if (!text.ends_with('\n')) text += '\n';
  return text;
}

// It has not run: its threads, sockets and the like cannot be held in a state.
bool cannot_be_saved(const CellAnswer& answer) {
  if (text_of(answer.head, "outcome") != "refused") return false;
  const auto why = traceback_of(answer.head);
  for (const char* sign :
       {"cannot save a state", "states are saved already", "no process for a state"})
    if (why.find(sign) != std::string::npos) return true;
  return false;
}

void not_undone(JailResult& result, const std::string& why) {
  result.warnings.push_back("this run could not be made undoable: " + printable(why));
  if (result.ok()) return;
  const std::string undone = "what it changed is undone";
  if (const auto at = result.reason.find(undone); at != std::string::npos)
    result.reason.replace(at, undone.size(), "what it changed before it failed stays");
}

// What a run prints, for who listens and for the result alike.
class Heard {
 public:
  explicit Heard(const Live& live) : live_(live) {}
  CellOptions options() {
    CellOptions cell;
    if (live_.out) cell.out = [this](std::string_view text) { take(text, out_, live_.out); };
    if (live_.err) cell.err = [this](std::string_view text) { take(text, err_, live_.err); };
    return cell;
  }
  void give(CellAnswer& answer) {
    if (live_.out) answer.out = std::move(out_);
    if (live_.err) answer.err = std::move(err_);
  }

 private:
  static void take(std::string_view text, std::string& kept,
                   const std::function<void(std::string_view)>& hear) {
    kept += text;
    hear(text);
  }
  const Live& live_;
  std::string out_, err_;
};

class SessionInterpreter : public Interpreter {
 public:
  SessionInterpreter(std::shared_ptr<Client> client, JailOptions options, std::vector<Input> inputs,
                     const Cancel& cancel)
      : client_(std::move(client)),
        options_(std::move(options)),
        inputs_(std::move(inputs)),
        cancel_(cancel) {}
  ~SessionInterpreter() override {
    if (session_) (void)session_->close();
  }

  Expected<void> open() {
    LeaseRequest request;
    if (!options_.policy.empty()) request.policy = options_.policy;
    request.overrides = options_.sets;
    if (!options_.timeout.empty()) request.overrides.push_back("limits.wall=" + options_.timeout);
    std::vector<Fd> files;
    for (const auto& input : inputs_) {
      Fd file(::open(input.source.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
      if (!file.valid())
        return std::unexpected(sys_error(Stage::None, input.source,
                                         "cannot read data file " + input.source,
                                         "check its permissions"));
      request.files.push_back({input.name, file.get()});
      files.push_back(std::move(file));
    }
    TRY(Session made, Session::create(*client_, std::move(request)));
    session_ = std::make_unique<Session>(std::move(made));
    return {};
  }

  Expected<JailResult> run(const std::string& code, const std::string& out_dir,
                           Deadline deadline) override {
    if (cancel_.requested()) return std::unexpected(cancelled_error());
    if (!session_) TRY_VOID(open());
    const auto start = Clock::now();
    Heard heard(live_);
    CellOptions cell = heard.options();
    cell.transactional = true;
    cell.cancel = cancel_.fd();
    if (deadline != Deadline::max())
      cell.wall_ns = static_cast<std::uint64_t>(
          std::max<std::int64_t>(std::chrono::nanoseconds(deadline - start).count(), 1));
    TRY(CellAnswer answer, session_->execute(code, cell));
    std::string kept;
    if (cannot_be_saved(answer)) {
      kept = traceback_of(answer.head);
      cell.transactional = false;
      TRY(answer, session_->execute(code, cell));
    }
    if (cancel_.requested()) return std::unexpected(cancelled_error());
    if (answer.wall_hit && Clock::now() >= deadline)
      return std::unexpected(Error{Stage::None, "the question", ETIMEDOUT,
                                   "out of time during a run", "allow more with --within"});
    heard.give(answer);
    JailResult result = read(answer);
    if (!kept.empty()) not_undone(result, kept);
    result.wall_ns =
        static_cast<std::uint64_t>(std::chrono::nanoseconds(Clock::now() - start).count());
    if (answer.ended) {
      session_.reset();
      states_.clear();
      marks_.clear();
    } else if (result.ok() && !out_dir.empty()) {
      take_files(answer, out_dir, result);
      if (!has_picture(result)) take_pictures(answer, out_dir, result);
    }
    return result;
  }

  bool lasting() const override { return true; }
  Expected<std::uint32_t> save() override {
    if (!session_) TRY_VOID(open());
    if (states_.size() >= kMostStates)
      return std::unexpected(Error{Stage::None, "state", 0,
                                   std::to_string(kMostStates) + " states are saved already",
                                   "roll back to one of them"});
    TRY(const std::uint32_t saved, session_->savepoint());
    states_.push_back(saved);
    return static_cast<std::uint32_t>(states_.size());
  }
  Expected<void> rollback(std::uint32_t state) override {
    if (!session_ || state == 0 || state > states_.size())
      return std::unexpected(Error{Stage::None, "state", 0,
                                   "there is no saved state " + std::to_string(state),
                                   "save one first"});
    return session_->rollback(states_[state - 1]);
  }
  Expected<void> mark() override {
    if (!session_) TRY_VOID(open());
    if (marks_.size() >= kMostMarks) {
      (void)session_->drop(marks_.front());
      marks_.erase(marks_.begin());
    }
    TRY(const std::uint32_t saved, session_->savepoint());
    marks_.push_back(saved);
    return {};
  }
  Expected<void> back() override {
    if (!session_ || marks_.empty())
      return std::unexpected(Error{Stage::None, "state", 0, "no earlier state is held",
                                   "the last " + std::to_string(kMostMarks) + " are"});
    TRY_VOID(session_->rollback(marks_.back()));
    (void)session_->drop(marks_.back());
    marks_.pop_back();
    return {};
  }
  Expected<std::unique_ptr<Interpreter>> branch() override {
    if (!session_) TRY_VOID(open());
    TRY(Session second, session_->branch());
    auto made = std::make_unique<SessionInterpreter>(client_, options_, inputs_, cancel_);
    made->session_ = std::make_unique<Session>(std::move(second));
    made->pictures_ = pictures_;
    return made;
  }

 private:
  static JailResult read(const CellAnswer& answer) {
    JailResult result;
    result.out = answer.out;
    result.err = answer.err;
    result.out_truncated = answer.out_truncated;
    result.err_truncated = answer.err_truncated;
    if (answer.ended) {
      const Result& end = answer.ended->result;
      result.verdict = std::string(name(end.verdict));
      result.reason = end.reason + "; the session is lost, with its variables and files";
      return result;
    }
    for (const auto& display : answer.displays) {
      const auto data = display.head.find("data");
      if (data == display.head.end() || !data->is_object()) continue;
      if (auto text = text_of(*data, "text/plain"); !text.empty()) result.out += text + "\n";
    }
    const auto outcome = text_of(answer.head, "outcome");
    const auto status = number_of(answer.head, "status");
    if (outcome == "ok" || (outcome == "exit" && status == 0)) {
      result.verdict = "ok";
      result.exit_code = 0;
      return result;
    }
    result.err += traceback_of(answer.head);
    result.verdict = answer.wall_hit            ? "wall_timeout"
                     : outcome == "died"        ? "signalled"
                     : outcome == "interrupted" ? "cancelled"
                                                : "nonzero_exit";
    result.reason = "what it changed is undone";
    if (answer.wall_hit)
      result.reason =
          "it took longer than " + format_duration(answer.wall_ns) + "; " + result.reason;
    if (outcome == "exit") result.exit_code = static_cast<int>(status & 0xff);
    return result;
  }

  void take_files(const CellAnswer& answer, const std::string& out_dir, JailResult& result) {
    const auto files = answer.head.find("files");
    if (files == answer.head.end() || !files->is_array()) return;
    std::uint64_t left = kMostBytes;
    for (const Json& each : *files) {
      const auto name = text_of(each, "name");
      const auto path = place_below(out_dir, name);
      const auto bytes = number_of(each, "bytes");
      if (path.empty() || bytes > left || result.files.size() >= kMostFiles) {
        result.warnings.push_back(printable(name) + " was left in the session");
        continue;
      }
      const auto content = session_->get(name);
      if (!content) {
        result.warnings.push_back(content.error().line());
        continue;
      }
      left -= std::min<std::uint64_t>(left, content->size());
      write_new(path, *content);
      result.files.push_back({name, content->size(), ""});
    }
  }

  // Figures that were shown rather than saved.
  void take_pictures(const CellAnswer& answer, const std::string& out_dir, JailResult& result) {
    for (const auto& display : answer.displays) {
      const auto bodies = display.head.find("bodies");
      if (bodies == display.head.end() || !bodies->is_array()) continue;
      std::size_t at = 0;
      for (const Json& part : *bodies) {
        const bool sane = part.is_array() && part.size() == 2 && part[0].is_string() &&
                          part[1].is_number_unsigned();
        if (!sane || result.files.size() >= kMostFiles) break;
        const auto size = part[1].get<std::uint64_t>();
        if (size > display.body.size() - at) break;
        if (part[0] == "image/png") {
          const auto name = "figure-" + std::to_string(++pictures_) + ".png";
          write_new(fs::path(out_dir) / name, display.body.substr(at, size));
          result.files.push_back({name, size, "image/png"});
        }
        at += size;
      }
    }
  }

  std::shared_ptr<Client> client_;
  JailOptions options_;
  std::vector<Input> inputs_;
  const Cancel& cancel_;
  std::unique_ptr<Session> session_;
  std::vector<std::uint32_t> marks_;
  std::vector<std::uint32_t> states_;  // numbered from 1 for the model: trials have numbers too
  int pictures_ = 0;
};

}  // namespace

Expected<std::unique_ptr<Interpreter>> make_session(const JailOptions& options,
                                                    const std::vector<Input>& inputs,
                                                    const Cancel& cancel) {
  TRY(Client client, options.socket.empty() ? Client::connect() : Client::connect(options.socket));
  auto made = std::make_unique<SessionInterpreter>(std::make_shared<Client>(std::move(client)),
                                                   options, inputs, cancel);
  TRY_VOID(made->open());
  return made;
}

}  // namespace jailrun::agent
