// Plans by policy: compiled by jailrun-full, kept in the run directory (owned by the effective
// user, mode 0700, opened by descriptor), found again only if everything they were made from is
// byte for byte the same.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "jail/plan/plan.h"
#include "jail/sys/error.h"

namespace jailrun {

// Path of a program that lies beside this one: "jailrun-full".
std::string program_beside(const char* name);

// `sets` are PATH=VALUE. Errors: unknown policy; all faults of a bad one (as many lines in the
// message); no jailrun-full.
Expected<std::unique_ptr<Plan>> load_plan(const std::string& policy,
                                          const std::vector<std::string>& sets);

}  // namespace jailrun
