// Plain users: whoever is not root builds jails in a user namespace of its own, with a cgroup that
// its user manager has delegated to it.
//
// The process enters the namespace and executes itself anew, once. It has to: what is cloned
// without exec keeps its memory in the user namespace in which the owner was executed, and reading
// a jail that is not dumpable takes CAP_SYS_PTRACE there. Executed inside, the owner attests its
// jails as root does. Its uid stays the same number in there, so every path and file is the same.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "jail/sys/error.h"

namespace jailrun {

// May this process build jails: root, or a plain user that has entered.
bool can_build_jails();

// Returns at once where can_build_jails(). Else asks the user manager for a delegated scope (pure
// cgroup v2, once), enters a user namespace, and executes `argv` anew: returns only with the Error
// of what refused. `vouched`: files of the host (image, layers) that are to be trusted inside,
// where their owner cannot be seen any more; each is checked here. `own_network`: leave the host's
// network too, which nobody can enter again from inside (to set lo up takes going in and out).
Expected<void> enter_as_plain_user(char** argv, const std::vector<std::string>& vouched,
                                   bool own_network);

// Nobody but root and this user could have changed it: by its owner and mode, or, inside, because
// enter_as_plain_user() has vouched for it.
bool only_we_could_change(const struct stat& st);

}  // namespace jailrun
