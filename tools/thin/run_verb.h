// The verbs `run` and `exec`, from command line to exit status.
#pragma once

#include <sys/types.h>

#include <string>

#include "jail/run/result.h"
#include "jail/sys/error.h"
#include "tools/thin/command_line.h"

namespace jailrun {

// As LaunchRequest::bring_up_loopback; null in the thin binary.
using BringUpLoopback = Expected<void> (*)(pid_t init);

// argv[1] is "run" or "exec". Returns the exit status.
int run_verb(int argc, char** argv, BringUpLoopback bring_up_loopback);

// Who looks on at a run, as `explain --trace` does, and tells about it in place of the Result.
class Onlooker {
 public:
  virtual ~Onlooker() = default;
  // As LaunchRequest::at_gate.
  virtual Expected<void> at_gate(pid_t guest) = 0;
  // What stdout gets when the jail is gone.
  virtual std::string report(const Result& result) = 0;
};

// A cold run of `line`, with an onlooker: the guest's own output goes to stderr, or into the Result
// with --json. argv is the whole command line of this process, which a plain user's run executes
// anew. Returns the exit status, which is that of the run.
int run_watched(const CommandLine& line, int argc, char** argv, BringUpLoopback bring_up_loopback,
                Onlooker& onlooker);

// Prints an Error as `run` does; returns the exit status.
int report(Error error, bool json);

// Replaces this process by the program `name` that lies beside it, with the same arguments.
[[noreturn]] void become(const char* name, char** argv);

// A descriptor number below 3 that is closed would be taken by a pipe of ours, and written to as
// stderr.
void occupy_standard_descriptors();

}  // namespace jailrun
