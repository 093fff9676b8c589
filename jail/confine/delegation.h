// Pure cgroup v2: which group may hold the leaves of jails. A group that gives controllers to its
// children holds no process itself, and systemd takes controllers away from groups that it has not
// delegated.
#pragma once

#include <string>

#include "jail/sys/fd.h"

namespace jailrun {

// The path, as in /proc/PID/cgroup, of the nearest group from `own` upward that can give its
// children memory, pids and cpu:
//   - the own one, where systemd has delegated it (Delegate=yes) or it is a container's root, and
//     nobody but this process is in it: then this process leaves it for a leaf "owner" below it;
//   - a delegated one above, as that leaf has;
//   - else, for root, a group "jailrun" of our own in the nearest group that gives controllers
//     already, as a login session has it in its user's slice.
// Limits of memory and CPU time of a group that is passed over would not hold for jails: then an
// Error. Where no group gives controllers, `own`: leaves without limits, for policies that may lack
// them.
// Set in the environment of a process in a scope or service that a user manager has delegated to
// it: user managers leave no mark on the group. Whoever sets it without that harms itself alone.
inline constexpr const char* kInOwnScope = "JAILRUN_IN_SCOPE";

// True where this process is on pure v2, in no group that has been delegated to it alone: a scope
// of its own would be the remedy.
bool wants_delegation();

Expected<std::string> find_giving_group(const std::string& mount, const std::string& own);

}  // namespace jailrun
