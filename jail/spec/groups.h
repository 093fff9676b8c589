// The groups of system calls that lie beside a policy.
#pragma once

#include "jail/plan/find_policy.h"
#include "jail/spec/parse.h"
#include "jail/sys/error.h"

namespace jailrun {

// Reads policies' seccomp/*.textproto; of two with one name the first directory's counts. Errors: a
// file that cannot be read.
Expected<GroupTexts> load_groups(const PolicySource& source);

}  // namespace jailrun
