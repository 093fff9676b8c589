#include "tests/faults/inject.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "jail/launch/timeline.h"
#include "jail/sys/fd.h"

namespace jailrun::test {
namespace {

constexpr unsigned long kFollow = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
                                  PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC;
constexpr int kTick = 20;  // ms; how often the time is looked at

bool is_own_fault(int signal) {
  return signal == SIGSEGV || signal == SIGABRT || signal == SIGBUS || signal == SIGILL ||
         signal == SIGFPE || signal == SIGTRAP;
}

// waitpid(2) that comes back now and then. The handler does nothing but interrupt it.
class Ticks {
 public:
  Ticks() {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    ::sigaction(SIGALRM, &action, &before_);
    set(kTick);
  }
  ~Ticks() {
    set(0);
    ::sigaction(SIGALRM, &before_, nullptr);
  }
  Ticks(const Ticks&) = delete;
  Ticks& operator=(const Ticks&) = delete;

 private:
  static void set(int ms) {
    const itimerval timer{{0, ms * 1000}, {0, ms * 1000}};
    ::setitimer(ITIMER_REAL, &timer, nullptr);
  }
  struct sigaction before_{};
};

class Watch {
 public:
  // `others`: they run already, and what they make is watched until its filter is in force.
  Watch(const Fault& fault, bool others) : fault_(fault), to_the_filter_(others), counts_(others) {}

  pid_t start(const std::vector<std::string>& argv, bool watched);
  void seize(pid_t process);
  void run(pid_t root, int bound_ms);
  void let_go();
  Watched take();

 private:
  void stopped(pid_t task, int status);
  void call_stop(pid_t task);
  void go_on(pid_t task, int signal = 0) { ::ptrace(PTRACE_SYSCALL, task, nullptr, signal); }

  const Fault fault_;
  const bool to_the_filter_;
  bool counts_;  // not before the program's own beginning
  pid_t root_ = -1;
  bool root_ended_ = false, ending_ = false;
  std::set<pid_t> watched_, failing_, ended_;
  Fd out_, err_;
  Watched result_;
};

pid_t Watch::start(const std::vector<std::string>& argv, bool watched) {
  out_ = Fd(::memfd_create("out", MFD_CLOEXEC));
  err_ = Fd(::memfd_create("err", MFD_CLOEXEC));
  std::vector<char*> words;
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  int gate[2];
  if (::pipe2(gate, O_CLOEXEC) != 0) std::abort();
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(gate[1]);
    char byte = 0;
    if (::read(gate[0], &byte, 1) != 1) ::_exit(126);
    const int null = ::open("/dev/null", O_RDONLY);
    ::dup2(null, 0);
    ::close(null);
    ::dup2(out_.get(), 1);
    ::dup2(err_.get(), 2);
    ::execv(words[0], words.data());
    ::_exit(127);
  }
  const Fd read_end(gate[0]), write_end(gate[1]);
  if (watched) {
    if (::ptrace(PTRACE_SEIZE, child, nullptr, kFollow | PTRACE_O_EXITKILL) != 0) std::abort();
    watched_.insert(child);
    ::ptrace(PTRACE_INTERRUPT, child, nullptr, 0);
  }
  if (::write(write_end.get(), "x", 1) != 1) std::abort();
  return child;
}

// Every thread of it.
void Watch::seize(pid_t process) {
  const std::string tasks = "/proc/" + std::to_string(process) + "/task";
  for (const auto& entry : std::filesystem::directory_iterator(tasks)) {
    const pid_t task = std::stoi(entry.path().filename().string());
    if (::ptrace(PTRACE_SEIZE, task, nullptr, kFollow) != 0) continue;
    watched_.insert(task);
    ::ptrace(PTRACE_INTERRUPT, task, nullptr, 0);
  }
}

void Watch::call_stop(pid_t task) {
  __ptrace_syscall_info info{};
  if (::ptrace(PTRACE_GET_SYSCALL_INFO, task, sizeof info, &info) <= 0) return;
  if (info.op == PTRACE_SYSCALL_INFO_ENTRY) {
    const auto call = static_cast<long>(info.entry.nr);
    // The last thing that the C library does before a static program's own code: what fails before
    // is answered by the library alone.
    if (!counts_) {
      counts_ = call == SYS_mprotect;
      return;
    }
    const int count = ++result_.calls[call];
    if (call != fault_.call || count != fault_.nth) return;
    result_.hit = true;
    failing_.insert(task);
    // A descriptor is closed whatever close(2) says.
    if (call != SYS_close)
      ::ptrace(PTRACE_POKEUSER, task, offsetof(struct user, regs.orig_rax), -1L);
    return;
  }
  if (info.op != PTRACE_SYSCALL_INFO_EXIT) return;
  if (failing_.erase(task) == 0) return;
  ::ptrace(PTRACE_POKEUSER, task, offsetof(struct user, regs.rax),
           -static_cast<long>(fault_.error));
}

void Watch::stopped(pid_t task, int status) {
  const int signal = WSTOPSIG(status), event = status >> 16;
  const bool is_guest = to_the_filter_ ? false : event == PTRACE_EVENT_EXEC && task != root_;
  if (is_guest || ending_) {
    watched_.erase(task);
    ::ptrace(PTRACE_DETACH, task, nullptr, event == 0 && signal != (SIGTRAP | 0x80) ? signal : 0);
    return;
  }
  watched_.insert(task);
  // One that is being born is watched from here on: its maker may be gone before it stops at first.
  if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
    unsigned long made = 0;
    ::ptrace(PTRACE_GETEVENTMSG, task, nullptr, &made);
    if (!ended_.contains(static_cast<pid_t>(made))) watched_.insert(static_cast<pid_t>(made));
  }
  if (event == PTRACE_EVENT_STOP && signal != SIGTRAP) {
    ::ptrace(PTRACE_LISTEN, task, nullptr, 0);
  } else if (event != 0) {
    go_on(task);
  } else if (signal == (SIGTRAP | 0x80)) {
    struct __ptrace_syscall_info info{};
    call_stop(task);
    if (to_the_filter_ && ::ptrace(PTRACE_GET_SYSCALL_INFO, task, sizeof info, &info) > 0 &&
        info.op == PTRACE_SYSCALL_INFO_EXIT && info.exit.rval == 0) {
      long call = ::ptrace(PTRACE_PEEKUSER, task, offsetof(struct user, regs.orig_rax), 0);
      if (call == SYS_seccomp) {  // what follows is the guest's
        watched_.erase(task);
        ::ptrace(PTRACE_DETACH, task, nullptr, 0);
        return;
      }
    }
    go_on(task);
  } else {
    go_on(task, signal);
  }
}

void Watch::run(pid_t root, int bound_ms) {
  root_ = root;
  const Ticks ticks;
  const std::int64_t until = monotonic_ns() + std::int64_t{bound_ms} * 1'000'000;
  result_.in_time = true;
  while (!root_ended_) {
    int status = 0;
    const pid_t task = ::waitpid(-1, &status, __WALL);
    if (result_.in_time && monotonic_ns() > until) {
      result_.in_time = false;
      ::kill(root, SIGKILL);
    }
    if (task < 0) continue;
    if (WIFSTOPPED(status)) {
      stopped(task, status);
      continue;
    }
    watched_.erase(task);
    ended_.insert(task);
    if (task == root) {
      root_ended_ = true;
      result_.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    } else if (WIFSIGNALED(status) && is_own_fault(WTERMSIG(status))) {
      result_.killed += "a process died by signal " + std::to_string(WTERMSIG(status)) + "; ";
    }
  }
}

// A task must stand still to be let go.
void Watch::let_go() {
  ending_ = true;
  const Ticks ticks;
  const std::int64_t until = monotonic_ns() + 5'000'000'000;
  for (const pid_t task : watched_) ::ptrace(PTRACE_INTERRUPT, task, nullptr, 0);
  while (!watched_.empty() && monotonic_ns() < until) {
    int status = 0;
    const pid_t task = ::waitpid(-1, &status, __WALL);
    if (task < 0 && errno == ECHILD) return;
    if (task < 0) continue;
    if (WIFSTOPPED(status)) {
      stopped(task, status);
    } else {
      watched_.erase(task);
      if (WIFSIGNALED(status) && is_own_fault(WTERMSIG(status)))
        result_.killed += "a process died by signal " + std::to_string(WTERMSIG(status)) + "; ";
    }
  }
}

Watched Watch::take() {
  const auto text = [](const Fd& file) {
    return read_file_at(AT_FDCWD, ("/proc/self/fd/" + std::to_string(file.get())).c_str(), 1 << 20);
  };
  result_.out = text(out_);
  result_.err = text(err_);
  return std::move(result_);
}

}  // namespace

Watched watch(const std::vector<std::string>& argv, const Fault& fault, int bound_ms) {
  Watch watch(fault, false);
  watch.run(watch.start(argv, true), bound_ms);
  watch.let_go();
  return watch.take();
}

Watched watch_others(const std::vector<pid_t>& processes, const std::vector<std::string>& argv,
                     const Fault& fault, int bound_ms) {
  Watch watch(fault, true);
  for (const pid_t process : processes) watch.seize(process);
  watch.run(watch.start(argv, false), bound_ms);
  watch.let_go();
  return watch.take();
}

}  // namespace jailrun::test
