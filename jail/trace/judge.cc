#include "jail/trace/judge.h"

#include <linux/audit.h>

#include <algorithm>
#include <cerrno>

namespace jailrun {
namespace {

constexpr std::uint32_t kX32 = 0x40000000;

// KILL; ERRNO with arguments; ALLOW; ERRNO without.
int rank(const FlatRule& rule) {
  if (rule.action == Action::Kill) return 0;
  if (rule.action == Action::Allow) return 2;
  return rule.conditions.empty() ? 3 : 1;
}

bool holds(const Condition& condition, std::uint64_t argument) {
  switch (condition.compare) {
    case Compare::Equal:
      return argument == condition.value;
    case Compare::NotEqual:
      return argument != condition.value;
    case Compare::Less:
      return argument < condition.value;
    case Compare::Greater:
      return argument > condition.value;
    case Compare::MaskedEqual:
      return (argument & condition.mask) == condition.value;
  }
  return false;
}

}  // namespace

bool is_foreign(const Call& call) {
  const auto number = static_cast<std::uint32_t>(call.number);
  return call.arch != AUDIT_ARCH_X86_64 || (number >= kX32 && call.number != -1);
}

bool holds(std::span<const Condition> conditions, const Call& call) {
  return std::ranges::all_of(conditions, [&](const Condition& condition) {
    return holds(condition, call.args[condition.index.get()]);
  });
}

std::span<const Condition> decisive(std::span<const Condition> conditions, const Call& call) {
  const auto last = std::ranges::find_if_not(conditions, [&](const Condition& condition) {
    return holds(condition, call.args[condition.index.get()]);
  });
  return {conditions.begin(), last == conditions.end() ? last : last + 1};
}

Judge::Judge(std::vector<FlatRule> rules) : rules_(std::move(rules)) {
  for (const FlatRule& rule : rules_) by_call_[rule.call.number].push_back(&rule);
  for (auto& [number, of_call] : by_call_) {
    std::ranges::stable_sort(of_call, {}, [](const FlatRule* rule) { return rank(*rule); });
  }
}

std::span<const FlatRule* const> Judge::rules_of(int number) const {
  const auto found = by_call_.find(number);
  if (found == by_call_.end()) return {};
  return found->second;
}

Answer Judge::answer(const Call& call) const {
  if (is_foreign(call)) return {Action::Kill, 0, nullptr};
  for (const FlatRule* rule : rules_of(call.number)) {
    if (holds(rule->conditions, call)) return {rule->action, rule->errno_value, rule};
  }
  return {Action::Errno, ENOSYS, nullptr};
}

}  // namespace jailrun
