#include "tools/thin/run_verb.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>

#include "jail/launch/packages.h"
#include "jail/launch/plain.h"
#include "jail/run/run.h"
#include "jail/sys/units.h"
#include "tools/options.h"
#include "tools/thin/command_line.h"
#include "tools/thin/plan_cache.h"
#include "tools/thin/warm.h"

extern char** environ;

namespace jailrun {
namespace {

// What runs out for jailrun itself can run out at any step: the remedy is then the same everywhere.
const char* common_remedy(int errno_value) {
  if (errno_value == EMFILE || errno_value == ENFILE)
    return "raise the limit of open files (ulimit -n)";
  if (errno_value == EAGAIN)
    return "too many processes: raise the pids limit of the caller's cgroup, or wait";
  return nullptr;
}

// Ctrl-C and its like become an event; a closed pipe becomes EPIPE.
Fd block_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGQUIT}) ::sigaddset(&set, signal);
  // nohup means it: whoever had SIGHUP ignored wants the run to go on without a terminal.
  struct sigaction hangup{};
  ::sigaction(SIGHUP, nullptr, &hangup);
  if (hangup.sa_handler != SIG_IGN) ::sigaddset(&set, SIGHUP);
  Fd events(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  ::sigaddset(&set, SIGPIPE);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  return events;
}

// After block_signals(): as it was.
void unblock_signals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGPIPE}) ::sigaddset(&set, signal);
  ::sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

// Standard input of a background job may not be read: it would be stopped.
int stdin_source() {
  const pid_t foreground = ::tcgetpgrp(STDIN_FILENO);
  return foreground >= 0 && foreground != ::getpgrp() ? -1 : STDIN_FILENO;
}

Expected<Fd> open_out(const std::string& path, bool& made) {
  made = ::mkdir(path.c_str(), 0777) == 0;
  if (!made && errno != EEXIST) {
    return std::unexpected(
        sys_error(Stage::Collect, path, "cannot make the output directory " + path,
                  "give --out a directory whose parent exists and can be written"));
  }
  Fd dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir.valid() || ::faccessat(dir.get(), ".", W_OK, AT_EACCESS) != 0) {
    return std::unexpected(sys_error(Stage::Collect, path,
                                     "cannot write to the output directory " + path,
                                     "give --out a directory that you may write to"));
  }
  return dir;
}

Expected<void> prepare(const CommandLine& line, RunRequest& request) {
  if (!line.is_run) {
    request.launch.argv = line.rest;
    request.stdin_source = stdin_source();
    return {};
  }
  const std::string& path = line.rest.front();
  TRY(request.launch.script, read_script(path));
  request.launch.script_name = path == "-" ? "script.py" : path.substr(path.rfind('/') + 1);
  if (path != "-") request.stdin_source = stdin_source();
  request.launch.argv = {"/usr/bin/python3", "/run/" + request.launch.script_name};
  request.launch.argv.insert(request.launch.argv.end(), line.rest.begin() + 1, line.rest.end());
  return {};
}

// As `--timeout`: the wall limit, and the CPU limit that follows it by default.
void set_timeout(Plan& plan, std::uint64_t timeout_ns) {
  if (timeout_ns == 0) return;
  const bool follows = plan.cpu_ns >= plan.wall_ns / 1000 * plan.cpu_millis;
  plan.wall_ns = timeout_ns;
  if (follows) plan.cpu_ns = timeout_ns / 1000 * plan.cpu_millis;
}

void print_verbose(const Result& result) {
  std::fprintf(stderr, "jailrun: %s start, policy %s, verdict %s\n", result.start.c_str(),
               result.policy.c_str(), name(result.verdict).data());
  std::fprintf(stderr, "jailrun: wall %s, cpu %s, memory %s, %llu processes at most\n",
               format_duration(result.wall_ns).c_str(),
               format_duration(result.cpu_ns.value_or(0)).c_str(),
               format_bytes(result.memory_peak_bytes.value_or(0)).c_str(),
               static_cast<unsigned long long>(result.pids_peak.value_or(0)));
  for (const TimelineEntry& entry : result.timeline) {
    std::fprintf(stderr, "jailrun: %9.1f us  %+9.1f  %s\n", static_cast<double>(entry.at_ns) / 1e3,
                 static_cast<double>(entry.ns) / 1e3, info(entry.stage).name.data());
  }
  for (const OutputFile& file : result.files) {
    std::fprintf(stderr, "jailrun: file %s, %s, %s\n", file.name.c_str(),
                 format_bytes(file.bytes).c_str(), file.media_type.c_str());
  }
}

// What the guest itself says of its times; by clocks of this machine, so they can be subtracted.
void print_answer(const WarmRun& ran) {
  std::fprintf(stderr, "jailrun: waited %s for a jail\n", format_duration(ran.queued_ns).c_str());
  if (!ran.answer) return;
  const auto since = [&](std::int64_t ns) {
    return format_duration(
        static_cast<std::uint64_t>(std::max<std::int64_t>(ns - ran.request_ns, 0)));
  };
  std::fprintf(stderr, "jailrun: request read after %s, first bytecode %s, done %s\n",
               since(ran.answer->received_ns).c_str(), since(ran.answer->first_ns).c_str(),
               since(ran.answer->done_ns).c_str());
}

int print(const Result& result, const CommandLine& line, Onlooker* onlooker) {
  int status = result.status;
  if (line.json || onlooker != nullptr) {
    const std::string text = onlooker != nullptr ? onlooker->report(result) : to_json(result);
    if (const int error = write_all(STDOUT_FILENO, text.data(), text.size()); error != 0) {
      std::fprintf(stderr,
                   "jailrun: cannot write the result: %s; is stdout closed, or its disk full?\n",
                   strerrordesc_np(error));
      status = kStatusCancelled;
    }
  }
  if (line.verbose) print_verbose(result);
  for (const std::string& warning : result.warnings)
    std::fprintf(stderr, "jailrun: warning: %s\n", warning.c_str());
  for (const SkippedFile& file : result.files_skipped) {
    if (!line.out.empty())
      std::fprintf(stderr, "jailrun: not taken out: %s: %s\n", file.name.c_str(),
                   file.reason.c_str());
  }
  if (result.verdict != Verdict::Ok && result.verdict != Verdict::NonzeroExit) {
    std::fprintf(stderr, "jailrun: %s\n", result.reason.c_str());
  }
  return status;
}

// Where the command line is faulty there is no CommandLine to ask.
bool asks_for_json(int argc, char** argv) {
  for (int i = 2; i < argc && std::strcmp(argv[i], "--") != 0; ++i) {
    if (std::strcmp(argv[i], "--json") == 0) return true;
  }
  return false;
}

// One `run` or `exec`: warm where that is asked for or can be had, else cold.
class Verb {
 public:
  Verb(const CommandLine& line, char** argv, Onlooker* onlooker = nullptr)
      : line_(line), argv_(argv), onlooker_(onlooker) {}
  int run(int argc, BringUpLoopback bring_up_loopback);

 private:
  std::optional<int> try_warm();
  Expected<void> make_ready();
  void give_back_stdin() const;
  void wipe_later(int argc);
  int fail(const Error& error) const;

  const CommandLine& line_;
  char** const argv_;
  Onlooker* const onlooker_;
  RunRequest request_;
  Fd cancel_, out_;
  bool made_out_ = false, ready_ = false;
  std::string why_cold_ = "asked for";
};

int Verb::fail(const Error& error) const {
  if (made_out_) ::rmdir(line_.out.c_str());  // only if nothing was taken out
  return report(error, line_.json);
}

// The script, the signals, the output directory.
Expected<void> Verb::make_ready() {
  if (!ready_) TRY_VOID(prepare(line_, request_));
  ready_ = true;
  // Not earlier: Ctrl-C must end a script that is still being typed.
  cancel_ = block_signals();
  request_.cancel = cancel_.get();
  if (line_.out.empty() || out_.valid()) return {};
  TRY(out_, open_out(line_.out, made_out_));
  request_.out_dir = out_.get();
  request_.out_name = line_.out;
  return {};
}

// The exit status; nothing: it has to be cold.
std::optional<int> Verb::try_warm() {
  std::variant<Client, NotWarm> reached = reach_jaild(line_);
  std::variant<WarmRun, NotWarm> outcome;
  if (const NotWarm* why = std::get_if<NotWarm>(&reached)) {
    outcome = *why;
  } else {
    if (const Expected<void> ready = make_ready(); !ready) return fail(ready.error());
    auto ran = run_warm(std::get<Client>(reached), line_, request_);
    if (!ran) return fail(ran.error());
    outcome = std::move(*ran);
  }
  if (const WarmRun* ran = std::get_if<WarmRun>(&outcome)) {
    if (line_.verbose) print_answer(*ran);
    return print(ran->result, line_, onlooker_);
  }
  NotWarm& why = std::get<NotWarm>(outcome);
  if (line_.start == Start::Warm || !why.cold_may_do)
    return fail(Error{Stage::None, "jaild", 0, std::move(why.why), std::move(why.remedy)});
  why_cold_ = std::move(why.why);
  unblock_signals();
  cancel_.reset();
  return std::nullopt;
}

// For another program that begins anew: what was read of a script on stdin.
void Verb::give_back_stdin() const {
  if (!ready_ || line_.rest.front() != "-") return;
  const std::string& script = request_.launch.script;
  const Fd copy(::memfd_create("script", MFD_CLOEXEC));
  if (write_all(copy.get(), script.data(), script.size()) == 0 &&
      ::lseek(copy.get(), 0, SEEK_SET) == 0)
    ::dup2(copy.get(), STDIN_FILENO);
}

// argv and the environment lie in one block; the jail's init clears its copy.
void Verb::wipe_later(int argc) {
  char* end = argv_[argc - 1];
  for (char** variable = environ; *variable != nullptr; ++variable)
    end = *variable > end ? *variable : end;
  request_.launch.wipe_begin = argv_[0];
  request_.launch.wipe_end = end + std::strlen(end);
}

int Verb::run(int argc, BringUpLoopback bring_up_loopback) {
  if (line_.start == Start::Warm && !line_.is_run) {
    return fail(Error{Stage::None, "--warm", 0, "a command cannot be run in a warm jail",
                      "jails made ahead hold a Python interpreter: use `jailrun run`, or --cold"});
  }
  ::signal(SIGCHLD, SIG_DFL);  // a caller may ignore it: then no wait tells how a child ended
  request_.list_files = line_.json;
  if (!line_.json) {
    request_.forward_out = onlooker_ != nullptr ? STDERR_FILENO : STDOUT_FILENO;
    request_.forward_err = STDERR_FILENO;
  }
  if (onlooker_ != nullptr)
    request_.launch.at_gate = [this](pid_t guest) { return onlooker_->at_gate(guest); };
  request_.launch.inputs = line_.files;
  request_.launch.packages = line_.packages;
  if (line_.is_run && line_.start != Start::Cold && bring_up_loopback == nullptr) {
    if (const std::optional<int> status = try_warm()) return *status;
  }
  Expected<std::unique_ptr<Plan>> plan = load_plan(line_.policy, line_.sets);
  if (!plan) return fail(plan.error());
  set_timeout(**plan, line_.timeout_ns);
  // Netlink is not for the thin binary: jailrun-net is the same with it.
  if ((*plan)->network == NetworkMode::Loopback && bring_up_loopback == nullptr) {
    give_back_stdin();
    become("jailrun-net", argv_);
  }
  request_.launch.bring_up_loopback = bring_up_loopback;
  if (!can_build_jails()) {
    give_back_stdin();
    std::vector<std::string> vouched = layer_paths((*plan)->image, line_.packages);
    vouched.push_back(image_path((*plan)->image));
    const bool loopback = (*plan)->network == NetworkMode::Loopback;
    return fail(enter_as_plain_user(argv_, vouched, loopback).error());
  }
  if (const Expected<void> ready = make_ready(); !ready) return fail(ready.error());
  wipe_later(argc);
  const Expected<Result> result = jailrun::run(**plan, request_);
  if (!result) return fail(result.error());
  if (line_.verbose && line_.is_run)
    std::fprintf(stderr, "jailrun: not warm: %s\n", why_cold_.c_str());
  return print(*result, line_, onlooker_);
}

}  // namespace

int report(Error error, bool json) {
  if (const char* remedy = common_remedy(error.errno_value); remedy != nullptr)
    error.remedy = remedy;
  if (json) {
    const std::string text = to_json(error);
    (void)write_all(STDOUT_FILENO, text.data(), text.size());
  }
  std::fprintf(stderr, "jailrun: %s\n", error.line().c_str());
  if (error.stage == Stage::Exec && error.errno_value == ENOENT) return kStatusNotFound;
  const bool not_executable = error.errno_value == EACCES || error.errno_value == ENOEXEC;
  if (error.stage == Stage::Exec && not_executable) return kStatusNotExecutable;
  return kStatusOurs;
}

int run_watched(const CommandLine& line, int argc, char** argv, BringUpLoopback bring_up_loopback,
                Onlooker& onlooker) {
  return Verb(line, argv, &onlooker).run(argc, bring_up_loopback);
}

int run_verb(int argc, char** argv, BringUpLoopback bring_up_loopback) {
  const Expected<CommandLine> line = parse_command_line(argc, argv);
  if (!line) return report(line.error(), asks_for_json(argc, argv));
  if (line->help || line->stored) become("jailrun-full", argv);
  return Verb(*line, argv).run(argc, bring_up_loopback);
}

}  // namespace jailrun
