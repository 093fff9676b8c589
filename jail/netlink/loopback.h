// lo, up: for policies that give the guest a network of its own. The one place where libnl enters.
#pragma once

#include <sys/types.h>

#include "jail/sys/error.h"

namespace jailrun {

// Sets lo up in the network namespace of `pid`, which must be a fresh one (lo alone, down). The
// calling thread visits that namespace and comes back.
Expected<void> bring_up_loopback(pid_t pid);

}  // namespace jailrun
