// A program and all that it starts, by ptrace(2): its system calls counted, or one of them failed
// before the kernel sees it. What is installed knows nothing of this.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

namespace jailrun::test {

// Whose a call is, and its number. Whose: the name of the program, or "NAME's child" for what it
// makes without a program of its own; its threads are the program. Several of one name count
// together.
using Call = std::pair<std::string, long>;

// The `nth` call (from 1) of these.
struct Fault {
  Call call{"", -1};
  int nth = 0;
  int error = 0;
};

struct Watched {
  std::map<Call, int> calls;
  bool hit = false;      // the fault was met
  bool in_time = false;  // else it was killed, after `bound_ms`
  int status = -1;       // exit status, or 128 + the signal it died by
  std::string out, err;
  std::string killed;  // how anything else that was watched died by a signal of its own making
};

// Runs a program to its end. Its guest is let go when it executes its own program.
Watched watch(const std::vector<std::string>& argv, const Fault& fault, int bound_ms);

// Watches processes that run already, and what they make (each until its filter is in force), while
// `argv` runs, untouched, and then until they rest; lets them go then. What fails late, or not at
// all where they had no time to begin it, is not met: that is no fault of theirs.
Watched watch_others(const std::vector<pid_t>& processes, const std::vector<std::string>& argv,
                     const Fault& fault, int bound_ms);

}  // namespace jailrun::test
