// Calls that a trace never proposes a rule for, whatever a guest needs them for.
#pragma once

#include <optional>
#include <string>

#include "jail/trace/judge.h"

namespace jailrun {

// Why not. Nothing: no row of the table covers the call. (What the groups of calls refuse on
// purpose is found in them: jail/trace/proposal.cc.)
std::optional<std::string> danger_of(const Call& call);

// The names that the table has, for its test.
std::vector<std::string> dangerous_names();

}  // namespace jailrun
