// The verbs `run` and `exec`, from command line to exit status.
#pragma once

#include <sys/types.h>

#include "jail/sys/error.h"

namespace jailrun {

// As LaunchRequest::bring_up_loopback; null in the thin binary.
using BringUpLoopback = Expected<void> (*)(pid_t init);

// argv[1] is "run" or "exec". Returns the exit status.
int run_verb(int argc, char** argv, BringUpLoopback bring_up_loopback);

// Replaces this process by the program `name` that lies beside it, with the same arguments.
[[noreturn]] void become(const char* name, char** argv);

// A descriptor number below 3 that is closed would be taken by a pipe of ours, and written to as
// stderr.
void occupy_standard_descriptors();

}  // namespace jailrun
