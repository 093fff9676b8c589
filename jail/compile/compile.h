// Spec to Plan: the exact arguments of the system calls that will build the jail on this kernel.
#pragma once

#include <memory>
#include <vector>

#include <linux/filter.h>

#include "jail/plan/plan.h"
#include "jail/spec/spec.h"
#include "jail/sys/error.h"

namespace jailrun {

// Errors: the filter does not fit a Plan or branches beyond measure (jail/compile/filter.h),
// libseccomp refuses (out of memory), the environment is
// too long once expanded. Depends on the running kernel by its Landlock ABI only.
Expected<std::unique_ptr<Plan>> compile(const Spec& spec);

// The filter alone, as seccomp(2) takes it.
Expected<std::vector<sock_filter>> compile_filter(const Spec& spec);

// Rights for a Landlock ABI (0: none).
LandlockPlan landlock_plan(int abi, NetworkMode network);

}  // namespace jailrun
