// The account of a run, once every process of its jail is gone: what is read from then on no longer
// changes.
#pragma once

#include "jail/launch/parts.h"
#include "jail/run/judge.h"

namespace jailrun {

// Adds the kernel's evidence to `evidence`, judges it, and gives the Result without streams, files,
// timeline.
Result account(const Plan& plan, const Cgroup& cgroup, const HeldMounts& held, Evidence& evidence);

}  // namespace jailrun
