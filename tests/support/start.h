// The same tests for every way in which a jail can start: JAILRUN_TEST_START is "cold" (or unset),
// "parked" or "forked", or "plain_own" or "plain_range": cold, by a plain user without a range in
// /etc/subuid or with one (tests/support/as_user); and on kernels that lack what
// JAILRUN_DISABLE_FEATURE names (tests/without).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace jailrun::test {

bool is_warm_start();
bool is_plain_start();

// The host uids that guests of this start have, and their supplementary groups as
// /proc/PID/status shows them to root.
struct GuestIds {
  unsigned long first, count;
  std::string groups;
};
GuestIds guest_ids();

// The command line of `jailrun exec OPTIONS -- COMMAND…`, turned into one that runs the same
// command in a warm jail where the tests ask for that: a script of the image's Python becomes the
// command. Others, and policies that are never warm, come back as they are.
std::vector<std::string> as_started(const std::vector<std::string>& argv);

// Of a client whose warm guest runs, as the host sees them; -1 where there is none. The guest is
// known by the pipes that it shares with its client.
pid_t warm_guest(pid_t client);
pid_t warm_init(pid_t guest);

}  // namespace jailrun::test
