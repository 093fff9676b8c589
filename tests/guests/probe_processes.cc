// Other processes, and rights of one's own.
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "tests/guests/probe.h"

namespace probe {
namespace {

int kill_all(char** a) { return outcome(::kill(-1, std::atoi(a[0]))); }

// kill(2) on PID says success for an init that ignores the signal: the host looks whether it lives.
int kill_one(char** a) { return outcome(::kill(std::atoi(a[0]), std::atoi(a[1]))); }

int trace(char** a) { return outcome(::ptrace(PTRACE_ATTACH, std::atoi(a[0]), nullptr, nullptr)); }

int read_memory_call(char** a) {
  char byte;
  iovec local{&byte, 1}, remote{reinterpret_cast<void*>(std::strtoul(a[1], nullptr, 16)), 1};
  return outcome(::process_vm_readv(std::atoi(a[0]), &local, 1, &remote, 1, 0));
}

// Opens a file of another process's /proc directory.
int proc_open(char** a) {
  char path[128];
  std::snprintf(path, sizeof path, "/proc/%s/%s", a[0], a[1]);
  return outcome(::open(path, O_RDONLY));
}

int sees_process(char** a) {
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return errno;
  while (const dirent* entry = ::readdir(proc)) {
    if (std::strcmp(entry->d_name, a[0]) == 0) return 0;
  }
  return ENOENT;
}

// Processes in /proc besides this one, its ancestors excluded where they are hidden.
int sees_others(char**) {
  char own[32];
  std::snprintf(own, sizeof own, "%d", static_cast<int>(::getpid()));
  DIR* proc = ::opendir("/proc");
  if (proc == nullptr) return errno;
  while (const dirent* entry = ::readdir(proc)) {
    if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && std::strcmp(entry->d_name, own) != 0)
      return 0;
  }
  return ENOENT;
}

int new_user_namespace(char**) { return outcome(::unshare(CLONE_NEWUSER)); }

int clone_user_namespace(char**) {
  const long child = ::syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
  if (child == 0) ::_exit(0);
  return outcome(child);
}

int clone3_user_namespace(char**) {
  unsigned long args[11] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
  const long child = ::syscall(SYS_clone3, args, 64);
  if (child == 0) ::_exit(0);
  return outcome(child);
}

int become_root(char**) { return outcome(::setuid(0)); }

// Leaves a process behind that has a session of its own and ignores every signal that can be
// ignored.
int daemonize(char**) {
  const pid_t first = ::fork();
  if (first == 0) {
    ::setsid();
    if (::fork() != 0) ::_exit(0);
    for (int signal = 1; signal < 64; ++signal) ::signal(signal, SIG_IGN);
    for (;;) ::pause();
  }
  return ::waitpid(first, nullptr, 0) == first ? 0 : errno;
}

int fork_bomb(char**) {
  for (;;) (void)!::fork();
}

// As many children as ARGUMENT says, all at once.
int fork_many(char** a) {
  int error = 0;
  std::vector<pid_t> made;
  for (int i = 0; i < std::atoi(a[0]) && error == 0; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      for (;;) ::pause();
    }
    error = child < 0 ? errno : 0;
    if (child > 0) made.push_back(child);
  }
  for (const pid_t each : made) ::kill(each, SIGKILL);
  for (const pid_t each : made) ::waitpid(each, nullptr, 0);
  return error;
}

// Touches as many MiB as ARGUMENT says.
int touch_memory(char** a) {
  const std::size_t size = std::strtoul(a[0], nullptr, 10) << 20;
  void* place = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  return place == MAP_FAILED ? errno : 0;
}

int memory_bomb(char**) {
  constexpr std::size_t kStep = 1 << 20;
  for (;;) {
    const long place = ::syscall(SYS_mmap, nullptr, kStep, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (place == -1) return errno;
  }
}

// Spins with every signal blocked and ignored.
int deaf_loop(char**) {
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  for (int signal = 1; signal < 65; ++signal) ::signal(signal, SIG_IGN);
  for (volatile int turn = 0;;) turn = turn + 1;
}

// Says "ready" and waits for a line on stdin.
int wait_for_line(char**) {
  std::printf("ready\n");
  std::fflush(stdout);
  char byte;
  while (::read(0, &byte, 1) == 1 && byte != '\n') {
  }
  return 0;
}

// Says "ready" and stays, whatever becomes of its stdin, with children that do the same.
int stay_with_children(char**) {
  for (int i = 0; i < 3; ++i) {
    if (::fork() == 0) {
      if (i == 2) ::setsid();
      for (;;) ::pause();
    }
  }
  std::printf("ready\n");
  std::fflush(stdout);
  for (;;) ::pause();
}

// Runs on a CPU that it was not given.
int widen_affinity(char** a) {
  cpu_set_t all;
  CPU_ZERO(&all);
  for (int cpu = 0; cpu < 64; ++cpu) CPU_SET(cpu, &all);
  if (::sched_setaffinity(0, sizeof all, &all) != 0) return errno;
  if (a[0] != nullptr) return wait_for_line(a);
  return 0;
}

int lower_nice(char**) { return outcome(::setpriority(PRIO_PROCESS, 0, -5)); }

int realtime(char**) {
  const sched_param parameter{1};
  return outcome(::sched_setscheduler(0, SCHED_FIFO, &parameter));
}

int change_limit_of(char** a) {
  const rlimit64 limit{1, 1};
  return outcome(::prlimit64(std::atoi(a[0]), RLIMIT_CPU, &limit, nullptr));
}

// As many children as ARGUMENT says, one after the other: each touches what it may not, or makes a
// call of the red list.
int crash(char** a) {
  int crashed = 0;
  auto* closed = static_cast<volatile char*>(
      ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (int i = 0; i < std::atoi(a[0]); ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (i % 2 == 0) ::syscall(SYS_bpf, 0, nullptr, 0);
      *closed = 1;
    }
    int status = 0;
    if (::waitpid(child, &status, 0) == child && WIFSIGNALED(status)) ++crashed;
  }
  std::printf("%d crashed\n", crashed);
  return 0;
}

int core_limit(char**) {
  const rlimit limit{1 << 20, 1 << 20};
  return outcome(::setrlimit(RLIMIT_CORE, &limit));
}

}  // namespace

const Probe kProcessProbes[] = {
    {"kill-all", kill_all},
    {"kill", kill_one},
    {"trace", trace},
    {"read-memory", read_memory_call},
    {"proc-open", proc_open},
    {"sees-process", sees_process},
    {"sees-others", sees_others},
    {"new-user-namespace", new_user_namespace},
    {"clone-user-namespace", clone_user_namespace},
    {"clone3-user-namespace", clone3_user_namespace},
    {"become-root", become_root},
    {"daemonize", daemonize},
    {"fork-bomb", fork_bomb},
    {"fork-many", fork_many},
    {"touch-memory", touch_memory},
    {"memory-bomb", memory_bomb},
    {"deaf-loop", deaf_loop},
    {"wait", wait_for_line},
    {"stay-with-children", stay_with_children},
    {"widen-affinity", widen_affinity},
    {"lower-nice", lower_nice},
    {"realtime", realtime},
    {"change-limit-of", change_limit_of},
    {"core-limit", core_limit},
    {"crash", crash},
    {nullptr, nullptr},
};

}  // namespace probe
