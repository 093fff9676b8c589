// From a refused call to the narrowest rule that would allow it, or to the reason why none is
// proposed. Values in, values out: nothing is written anywhere.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "jail/plan/find_policy.h"
#include "jail/spec/parse.h"
#include "jail/trace/judge.h"

namespace jailrun {

struct Proposal {
  std::string rule;  // as it stands in a policy, inside of syscalls { … }; "" where there is none
  std::string set;   // the same for --set
  std::string why_none;  // where there is none
};

// A call in words, with those of its arguments that rules look at: "ioctl where args[1] == 0x540f".
std::string refused_in_words(const Call& call, const Judge& policy, const Judge& groups);

class Adviser {
 public:
  // A policy that parse() has read to `spec`, with the same `sets`.
  Adviser(PolicySource source, GroupTexts groups, Overrides sets, const Spec& spec);

  // A rule is proposed only if the policy with it is sound and allows the call. Never for what a
  // rule kills or refuses on purpose, in this policy or in any installed group (unless a danger
  // block of the policy has taken it off the red list), nor for what dangers.cc lists.
  Proposal propose(const Call& call, std::uint64_t times) const;

  const std::shared_ptr<const Judge>& policy() const { return policy_; }
  // Every rule of every group that is installed, named by this policy or not.
  const std::shared_ptr<const Judge>& groups() const { return groups_; }

 private:
  std::string reason_against(const Call& call, const Answer& answer) const;
  std::vector<Condition> narrowest(const Call& call) const;

  PolicySource source_;
  GroupTexts texts_;
  Overrides sets_;
  std::shared_ptr<const Judge> policy_, groups_;
  std::set<int> lifted_;  // calls that a danger block takes off the red list
};

}  // namespace jailrun
