// A program and all that it starts, by ptrace(2): its system calls counted, or one of them failed
// before the kernel sees it. What is installed knows nothing of this.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace jailrun::test {

// The `nth` call (from 1) by this number, of all that is watched together.
struct Fault {
  long call = -1;
  int nth = 0;
  int error = 0;
};

struct Watched {
  std::map<long, int> calls;  // by number
  bool hit = false;           // the fault was met
  bool in_time = false;       // else it was killed, after `bound_ms`
  int status = -1;            // exit status, or 128 + the signal it died by
  std::string out, err;
  std::string killed;  // how anything else that was watched died by a signal of its own making
};

// Runs a program to its end. Its guest is let go when it executes its own program.
Watched watch(const std::vector<std::string>& argv, const Fault& fault, int bound_ms);

// Watches processes that run already, and the jails that they make (each until its filter is in
// force), while `argv` runs, untouched; lets them go then.
Watched watch_others(const std::vector<pid_t>& processes, const std::vector<std::string>& argv,
                     const Fault& fault, int bound_ms);

}  // namespace jailrun::test
