// A Spec in words, for people: what a guest may do, weakenings first.
#pragma once

#include <string>

#include "jail/spec/spec.h"

namespace jailrun {

struct ExplainOptions {
  bool calls = false;  // name each system call
};

// Stable text, 100 columns, ends with a newline.
std::string explain(const Spec& spec, ExplainOptions options = {});

// "run even where the host cannot enforce the memory limit", "allows ptrace, which is on the red
// list".
std::string danger_in_words(const SpecDanger& danger);

// "fcntl where args[1] < 8", "EPERM", "allow".
std::string call_in_words(const std::string& call, const std::vector<Condition>& conditions);
std::string action_in_words(Action action, int errno_value);

struct CallCounts {
  int allowed = 0, refused = 0, killed = 0;  // names; one that is allowed in part counts as allowed
};
CallCounts count_calls(const Spec& spec);

}  // namespace jailrun
