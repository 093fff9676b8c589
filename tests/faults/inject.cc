#include "tests/faults/inject.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
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
// Who makes no call for this long rests, unless it takes longer than the other: a pool that has
// nothing to do looks at itself once a second.
constexpr std::int64_t kRestNs = 120'000'000, kLongestNs = 5'000'000'000;

bool is_own_fault(int signal) {
  return signal == SIGSEGV || signal == SIGABRT || signal == SIGBUS || signal == SIGILL ||
         signal == SIGFPE || signal == SIGTRAP;
}

std::string of_proc(pid_t process, const char* file) {
  return read_file_at(AT_FDCWD, ("/proc/" + std::to_string(process) + "/" + file).c_str(), 4096);
}

// The name of its program; empty where it is gone.
std::string program_of(pid_t process) {
  std::string name = of_proc(process, "comm");
  return name.substr(0, name.find('\n'));
}

bool is_thread(pid_t task) {
  return of_proc(task, "status").find("\nTgid:\t" + std::to_string(task) + "\n") ==
         std::string::npos;
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
  void born(pid_t task, pid_t maker);
  bool over(std::int64_t ended_ns) const;
  void forget(pid_t task);
  void go_on(pid_t task, int signal = 0) { ::ptrace(PTRACE_SYSCALL, task, nullptr, signal); }

  const Fault fault_;
  const bool to_the_filter_;
  bool counts_;  // not before the program's own beginning
  pid_t root_ = -1;
  bool root_ended_ = false, ending_ = false;
  std::set<pid_t> watched_, failing_, ended_;
  std::map<pid_t, std::string> names_;
  std::set<pid_t> nameless_;  // they stand until their maker has told of them
  std::int64_t last_stop_ns_ = 0;
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
    names_[child] = std::filesystem::path(argv[0]).filename();
    ::ptrace(PTRACE_INTERRUPT, child, nullptr, 0);
  }
  if (::write(write_end.get(), "x", 1) != 1) std::abort();
  return child;
}

// Every thread of it; none where it has ended meanwhile.
void Watch::seize(pid_t process) {
  const std::string tasks = "/proc/" + std::to_string(process) + "/task";
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator(tasks, gone)) {
    const pid_t task = std::stoi(entry.path().filename().string());
    if (::ptrace(PTRACE_SEIZE, task, nullptr, kFollow) != 0) continue;
    watched_.insert(task);
    names_[task] = program_of(process);
    ::ptrace(PTRACE_INTERRUPT, task, nullptr, 0);
  }
}

// One that is being born is watched from here on: its maker may be gone before it stops at first.
void Watch::born(pid_t task, pid_t maker) {
  if (ended_.contains(task) && program_of(task).empty()) return;
  ended_.erase(task);  // else another one has its number now
  watched_.insert(task);
  names_[task] = names_[maker] + (is_thread(task) ? "" : "'s child");
  if (nameless_.erase(task) != 0) go_on(task);
}

void Watch::forget(pid_t task) {
  watched_.erase(task);
  names_.erase(task);
  nameless_.erase(task);
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
    const Call whose{names_[task], call};
    const int count = ++result_.calls[whose];
    if (whose != fault_.call || count != fault_.nth) return;
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
  last_stop_ns_ = monotonic_ns();
  if (is_guest || ending_) {
    forget(task);
    ::ptrace(PTRACE_DETACH, task, nullptr, event == 0 && signal != (SIGTRAP | 0x80) ? signal : 0);
    return;
  }
  watched_.insert(task);
  if (!names_.contains(task)) {
    nameless_.insert(task);
    return;
  }
  if (event == PTRACE_EVENT_EXEC) names_[task] = program_of(task);
  if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK || event == PTRACE_EVENT_CLONE) {
    unsigned long made = 0;
    ::ptrace(PTRACE_GETEVENTMSG, task, nullptr, &made);
    born(static_cast<pid_t>(made), task);
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
        forget(task);
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
  std::int64_t ended_ns = 0;
  while (!root_ended_ || !over(ended_ns)) {
    int status = 0;
    const pid_t task = ::waitpid(-1, &status, __WALL);
    if (result_.in_time && !root_ended_ && monotonic_ns() > until) {
      result_.in_time = false;
      ::kill(root, SIGKILL);
    }
    if (task < 0) continue;
    if (WIFSTOPPED(status)) {
      stopped(task, status);
      continue;
    }
    forget(task);
    ended_.insert(task);
    if (task == root) {
      root_ended_ = true;
      ended_ns = monotonic_ns();
      result_.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    } else if (WIFSIGNALED(status) && is_own_fault(WTERMSIG(status))) {
      result_.killed += "a process died by signal " + std::to_string(WTERMSIG(status)) + "; ";
    }
  }
}

bool Watch::over(std::int64_t ended_ns) const {
  if (!to_the_filter_ || watched_.empty()) return true;
  const std::int64_t now = monotonic_ns();
  return now > std::max(ended_ns, last_stop_ns_) + kRestNs || now > ended_ns + kLongestNs;
}

// A task must stand still to be let go.
void Watch::let_go() {
  ending_ = true;
  const Ticks ticks;
  const std::int64_t until = monotonic_ns() + 5'000'000'000;
  for (const pid_t task : std::set<pid_t>(nameless_)) {
    ::ptrace(PTRACE_DETACH, task, nullptr, 0);
    forget(task);
  }
  for (const pid_t task : watched_) ::ptrace(PTRACE_INTERRUPT, task, nullptr, 0);
  while (!watched_.empty() && monotonic_ns() < until) {
    int status = 0;
    const pid_t task = ::waitpid(-1, &status, __WALL);
    if (task < 0 && errno == ECHILD) return;
    if (task < 0) continue;
    if (WIFSTOPPED(status)) {
      stopped(task, status);
    } else {
      forget(task);
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
