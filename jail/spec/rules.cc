#include "jail/spec/rules.h"

#include <algorithm>

namespace jailrun {
namespace {

bool lifted(const Spec& spec, const Syscall& call) {
  return std::any_of(spec.dangers.begin(), spec.dangers.end(), [&](const SpecDanger& danger) {
    const Syscall* named = std::get_if<Syscall>(&danger.weakened);
    return named != nullptr && named->number == call.number;
  });
}

class Flattener {
 public:
  explicit Flattener(const Spec& spec) : spec_(spec) {}

  void add(const Rule& rule, const std::string& group) {
    for (const Syscall& call : rule.calls) {
      if (rule.action == Action::Kill && lifted(spec_, call)) continue;
      put({call, rule.action, rule.errno_value, rule.conditions, rule.why, group});
    }
  }

  std::vector<FlatRule> rules;

 private:
  void put(FlatRule rule) {
    const auto same = std::find_if(rules.begin(), rules.end(), [&](const FlatRule& other) {
      return other.call.number == rule.call.number && other.conditions == rule.conditions;
    });
    if (same != rules.end()) {
      if (same->action == Action::Kill) return;
      rules.erase(same);
    }
    rules.push_back(std::move(rule));
  }

  const Spec& spec_;
};

}  // namespace

std::vector<FlatRule> effective_rules(const Spec& spec) {
  Flattener flattener(spec);
  for (const RuleGroup& group : spec.groups) {
    for (const Rule& rule : group.rules) flattener.add(rule, group.name);
  }
  for (const Rule& rule : spec.rules) flattener.add(rule, "");
  return std::move(flattener.rules);
}

std::vector<std::string> red_list(const std::vector<RuleGroup>& groups,
                                  const std::vector<Rule>& own) {
  std::vector<std::string> names;
  const auto collect = [&](const std::vector<Rule>& rules) {
    for (const Rule& rule : rules) {
      if (rule.action != Action::Kill || !rule.conditions.empty()) continue;
      for (const Syscall& call : rule.calls) names.push_back(call.name);
    }
  };
  for (const RuleGroup& group : groups) collect(group.rules);
  collect(own);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

}  // namespace jailrun
