// The verbs `run` and `exec`, from command line to exit status.
#pragma once

#include <sys/types.h>

#include "jail/sys/error.h"

namespace jailrun {

// As LaunchRequest::bring_up_loopback; null in the thin binary.
using BringUpLoopback = Expected<void> (*)(pid_t init);

// Hidden first argument by which the thin binary hands `run` and `exec` over to jailrun-full.
inline constexpr const char* kLoopbackVerb = "with-loopback";

// argv[1] is "run" or "exec". Returns the exit status.
int run_verb(int argc, char** argv, BringUpLoopback bring_up_loopback);

// Replaces this process by jailrun-full with the same arguments, after `verb` if that is not empty.
[[noreturn]] void become_full(const char* verb, char** argv);

// A descriptor number below 3 that is closed would be taken by a pipe of ours, and written to as
// stderr.
void occupy_standard_descriptors();

}  // namespace jailrun
