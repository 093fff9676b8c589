// The groups of system calls that lie beside a policy.
#pragma once

#include "jail/plan/find_policy.h"
#include "jail/spec/parse.h"
#include "jail/sys/error.h"

namespace jailrun {

// Reads policies' seccomp/*.textproto and, where the policy names a base, the policies beside it;
// of two with one name the first directory's counts. Errors: a group's file that cannot be read.
Expected<GroupTexts> load_groups(const PolicySource& source);

}  // namespace jailrun
