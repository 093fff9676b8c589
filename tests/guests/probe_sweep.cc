// Many attempts in one jail: each in a child of its own, one line of answer each.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/guests/probe.h"

namespace probe {
namespace {

struct Said {
  volatile long result;
  volatile bool returned;
};

// A call's child leaves at once: it may share this memory and this stack.
[[gnu::always_inline]] inline long raw_call(const long (&a)[7]) {
  long result = a[0];
  register long r10 asm("r10") = a[4];
  register long r8 asm("r8") = a[5];
  register long r9 asm("r9") = a[6];
  asm volatile(
      "movq %%rax, %%r12\n\t"
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "cmpq $56, %%r12\n\t"  // clone, fork, vfork
      "jb 1f\n\t"
      "cmpq $58, %%r12\n\t"
      "jbe 2f\n\t"
      "cmpq $435, %%r12\n\t"  // clone3
      "jne 1f\n"
      "2:\n\t"
      "movl $60, %%eax\n\t"
      "xorl %%edi, %%edi\n\t"
      "syscall\n"
      "1:"
      : "+a"(result), "+r"(r10), "+r"(r8), "+r"(r9)
      : "D"(a[1]), "S"(a[2]), "d"(a[3])
      : "rcx", "r11", "r12", "memory");
  return result;
}

[[gnu::always_inline]] inline long raw_call_32(long number) {
  long result = number;
  asm volatile("int $0x80"
               : "+a"(result)
               : "b"(-1L), "c"(-1L), "d"(-1L), "S"(-1L), "D"(-1L)
               : "memory", "r8", "r9", "r10", "r11");
  return result;
}

bool waits_for_ever(long number) {
  return number == SYS_pause || number == SYS_select || number == SYS_pselect6 ||
         number == SYS_ppoll || number == SYS_poll || number == SYS_rt_sigsuspend;
}

// "value", "errno N", "signal N", "waits" or "ended". The alarm is for calls that never return, and
// far beyond what any other needs.
void sweep_one(Said* said, bool compatible, const long (&a)[7]) {
  said->returned = false;
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    const itimerval alarm{{0, 0}, {waits_for_ever(a[0]) ? 0 : 20, 50'000}};
    ::setitimer(ITIMER_REAL, &alarm, nullptr);
    const long result = compatible ? raw_call_32(a[0]) : raw_call(a);
    said->result = result;
    said->returned = true;
    for (;;) raw_call({SYS_exit_group, 0, 0, 0, 0, 0, 0});
  }
  int status = 0;
  ::waitpid(child, &status, __WALL);
  while (::waitpid(-1, nullptr, WNOHANG | __WALL) > 0) {
  }
  if (said->returned) {
    const long result = said->result;
    if (result < 0 && result >= -4095)
      std::printf("errno %ld\n", -result);
    else
      std::printf("value\n");
  } else if (WIFSIGNALED(status)) {
    if (WTERMSIG(status) == SIGALRM)
      std::printf("waits\n");
    else
      std::printf("signal %d\n", WTERMSIG(status));
  } else {
    std::printf("ended\n");
  }
}

int run_apart(const std::vector<std::string>& words) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::alarm(20);
    if (std::freopen("/dev/null", "w", stdout) == nullptr) ::_exit(252);
    ::_exit(run_named(arguments.data()));
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// Each line of FILE: `syscall`s of the 64-bit entry ("sweep NUMBER ARGUMENT…") or the 32-bit one
// ("sweep32 NUMBER"), or a probe with its arguments. A line of answer each, then "ready"; ends with
// a line on stdin.
int battery(char** a) {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return errno;
  std::vector<std::string> lines;
  std::ifstream file(a[0]);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  file.close();  // a probe looks for descriptors
  for (const std::string& line : lines) {
    std::istringstream stream(line);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    if (words.empty()) continue;
    if (words[0].starts_with("sweep")) {
      long values[7] = {};
      for (std::size_t i = 1; i < words.size() && i < 8; ++i)
        values[i - 1] = static_cast<long>(std::strtoull(words[i].c_str(), nullptr, 0));
      std::fflush(stdout);
      sweep_one(static_cast<Said*>(page), words[0] == "sweep32", values);
    } else {
      std::printf("%d\n", run_apart(words));
    }
  }
  std::printf("ready\n");
  std::fflush(stdout);
  char byte;
  while (::read(0, &byte, 1) == 1 && byte != '\n') {
  }
  return 0;
}

}  // namespace

const Probe kBatteryProbes[] = {
    {"battery", battery},
    {nullptr, nullptr},
};

}  // namespace probe
