// The same tests for every way in which a jail can start: JAILRUN_TEST_START is "cold" (or unset),
// "parked" or "forked"; and on kernels that lack what JAILRUN_DISABLE_FEATURE names
// (tests/without).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace jailrun::test {

bool is_warm_start();

// The command line of `jailrun exec OPTIONS -- COMMAND…`, turned into one that runs the same
// command in a warm jail where the tests ask for that: a script of the image's Python becomes the
// command. Others, and policies that are never warm, come back as they are.
std::vector<std::string> as_started(const std::vector<std::string>& argv);

// Of a client whose warm guest runs, as the host sees them; -1 where there is none. The guest is
// known by the pipes that it shares with its client.
pid_t warm_guest(pid_t client);
pid_t warm_init(pid_t guest);

}  // namespace jailrun::test
