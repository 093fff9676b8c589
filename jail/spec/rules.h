// The rules of a Spec as the filter applies them: one call each, replaced and lifted ones gone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "jail/spec/spec.h"

namespace jailrun {

struct FlatRule {
  Syscall call;
  Action action;
  int errno_value;
  std::vector<Condition> conditions;
  std::string why;
  std::string group;  // "" for the policy's own
};

// In the order in which they were written. A later rule for the same call and conditions has
// replaced an earlier one; KILL is replaced by nothing, and is gone where a danger lifts it.
std::vector<FlatRule> effective_rules(const Spec& spec);

// Names of the calls that these groups kill whatever their arguments are.
std::vector<std::string> red_list(const std::vector<RuleGroup>& groups,
                                  const std::vector<Rule>& own);

}  // namespace jailrun
