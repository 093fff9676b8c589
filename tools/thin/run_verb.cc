#include "tools/thin/run_verb.h"

#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "jail/run/run.h"
#include "jail/sys/units.h"
#include "tools/options.h"
#include "tools/thin/command_line.h"
#include "tools/thin/plan_cache.h"

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

int print(const Result& result, const CommandLine& line) {
  int status = result.status;
  if (line.json) {
    const std::string text = to_json(result);
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

}  // namespace

int run_verb(int argc, char** argv, BringUpLoopback bring_up_loopback) {
  const Expected<CommandLine> line = parse_command_line(argc, argv);
  if (!line) return report(line.error(), asks_for_json(argc, argv));
  if (line->help) become("jailrun-full", argv);

  ::signal(SIGCHLD, SIG_DFL);  // a caller may ignore it: then no wait tells how a child ended
  RunRequest request;
  request.list_files = line->json;
  if (!line->json) {
    request.forward_out = STDOUT_FILENO;
    request.forward_err = STDERR_FILENO;
  }
  request.launch.inputs = line->files;
  Expected<std::unique_ptr<Plan>> plan = load_plan(line->policy, line->sets);
  if (!plan) return report(plan.error(), line->json);
  set_timeout(**plan, line->timeout_ns);
  // Netlink is not for the thin binary: jailrun-net is the same with it.
  if ((*plan)->network == NetworkMode::Loopback && bring_up_loopback == nullptr)
    become("jailrun-net", argv);
  request.launch.bring_up_loopback = bring_up_loopback;
  if (const Expected<void> prepared = prepare(*line, request); !prepared)
    return report(prepared.error(), line->json);
  // Not earlier: Ctrl-C must end a script that is still being typed.
  const Fd cancel = block_signals();
  request.cancel = cancel.get();
  Fd out;
  bool made = false;
  if (!line->out.empty()) {
    Expected<Fd> opened = open_out(line->out, made);
    if (!opened) return report(opened.error(), line->json);
    out = std::move(*opened);
    request.out_dir = out.get();
    request.out_name = line->out;
  }

  // argv and the environment lie in one block; the jail's init clears its copy.
  char* end = argv[argc - 1];
  for (char** variable = environ; *variable != nullptr; ++variable)
    end = *variable > end ? *variable : end;
  request.launch.wipe_begin = argv[0];
  request.launch.wipe_end = end + std::strlen(end);

  const Expected<Result> result = run(**plan, request);
  if (!result && made) ::rmdir(line->out.c_str());  // only if nothing was taken out
  return result ? print(*result, *line) : report(result.error(), line->json);
}

}  // namespace jailrun
