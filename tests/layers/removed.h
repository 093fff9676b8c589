// One jail without one of its walls, and what noticed.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "tests/confinement/jailed.h"

namespace jailrun::test {

// What a jail shows of itself: what each line of the battery answered, and how it stands.
struct Shown {
  std::string refused;  // what the builder of the jail said instead, empty where the guest ran
  std::vector<std::string> answers;
  std::vector<std::string> posture;
  int status = -1;
};

// Habits of a caller that no jail may take over: it ignores and blocks signals, has groups,
// descriptors, variables, a personality, a priority and a umask of its own. For a fresh process.
void hostile_habits();

enum class Builder {
  Jailrun,     // the program that is installed
  Unattested,  // the same, but for the look from outside before the guest runs
};

// Runs the battery `lines` in a jail of policy python without `layer` ("nothing": with all),
// started by a caller of hostile habits: it ignores and blocks signals, has groups, descriptors,
// variables, a personality, a priority and a umask of its own. `looked_at` is called while the
// guest waits.
Shown show_without(const std::string& layer, Builder builder, const std::vector<std::string>& lines,
                   const std::function<void(const Live&)>& looked_at = {});

}  // namespace jailrun::test
