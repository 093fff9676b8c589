#include "jail/trace/proposal.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "jail/spec/explain.h"
#include "jail/spec/syscalls.h"
#include "jail/trace/dangers.h"

namespace jailrun {
namespace {

using Rules = std::span<const FlatRule* const>;

std::string hex(std::uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 10 ? "%llu" : "0x%llx",
                static_cast<unsigned long long>(value));
  return text;
}

bool allows_some(Rules rules) {
  return std::ranges::any_of(rules,
                             [](const FlatRule* rule) { return rule->action == Action::Allow; });
}

// The groups one by one, each as a policy of its own: a group that has faults is none.
std::vector<FlatRule> rules_of_groups(const GroupTexts& texts) {
  std::vector<FlatRule> all;
  for (const auto& [name, text] : texts) {
    const auto spec =
        parse("name: \"group\" description: \"group\" syscalls { groups: \"" + name + "\" }",
              "group.textproto", texts);
    if (!spec) continue;
    for (const Rule& rule : spec->groups.front().rules) {
      for (const Syscall& call : rule.calls)
        all.push_back({call, rule.action, rule.errno_value, rule.conditions, rule.why, name});
    }
  }
  return all;
}

// The arguments that the rules look at, as this call has them. Under a mask where all of them put
// the same one over it.
std::vector<Condition> as_called(const Call& call, Rules rules) {
  std::map<std::uint32_t, Condition> by_index;
  for (const FlatRule* rule : rules) {
    for (const Condition& seen : decisive(rule->conditions, call)) {
      Condition wanted{seen.index, Compare::Equal, call.args[seen.index.get()], 0};
      if (seen.compare == Compare::MaskedEqual) {
        wanted.compare = Compare::MaskedEqual;
        wanted.value &= seen.mask;
        wanted.mask = seen.mask;
      }
      const auto [known, added] = by_index.emplace(seen.index.get(), wanted);
      if (!added && known->second != wanted)
        known->second = {seen.index, Compare::Equal, call.args[seen.index.get()], 0};
    }
  }
  std::vector<Condition> conditions;
  for (const auto& [index, condition] : by_index) conditions.push_back(condition);
  return conditions;
}

// A rule's fields as policy text, one by one.
std::vector<std::string> fields(const Call& call, const std::vector<Condition>& conditions,
                                std::uint64_t times) {
  std::vector<std::string> all = {"calls: [\"" + syscall_name(call.number) + "\"]"};
  constexpr const char* kCompare[] = {"EQUAL", "NOT_EQUAL", "MASKED_EQUAL", "LESS", "GREATER"};
  for (const Condition& condition : conditions) {
    std::string text = "args { index: " + std::to_string(condition.index.get()) +
                       " compare: " + kCompare[static_cast<int>(condition.compare)];
    if (condition.compare == Compare::MaskedEqual) text += " mask: " + hex(condition.mask);
    all.push_back(text + " value: " + hex(condition.value) + " }");
  }
  all.push_back("why: \"refused " + std::to_string(times) + (times == 1 ? " time" : " times") +
                " in a trace; say here who needs it\"");
  return all;
}

}  // namespace

std::string refused_in_words(const Call& call, const Judge& policy, const Judge& groups) {
  if (is_foreign(call))
    return "call " + std::to_string(call.number) + " of another ABI (32-bit, x32)";
  std::map<std::uint32_t, Condition> shown;
  for (const Judge* judge : {&policy, &groups}) {
    for (const FlatRule* rule : judge->rules_of(call.number)) {
      for (const Condition& seen : decisive(rule->conditions, call))
        shown[seen.index.get()] = {seen.index, Compare::Equal, call.args[seen.index.get()], 0};
    }
  }
  std::vector<Condition> conditions;
  for (const auto& [index, condition] : shown) conditions.push_back(condition);
  return call_in_words(syscall_name(call.number), conditions);
}

Adviser::Adviser(PolicySource source, GroupTexts groups, Overrides sets, const Spec& spec)
    : source_(std::move(source)),
      texts_(std::move(groups)),
      sets_(std::move(sets)),
      policy_(std::make_shared<const Judge>(effective_rules(spec))),
      groups_(std::make_shared<const Judge>(rules_of_groups(texts_))) {
  for (const SpecDanger& danger : spec.dangers) {
    if (const Syscall* lifted = std::get_if<Syscall>(&danger.weakened))
      lifted_.insert(lifted->number);
  }
}

// Empty: a rule may be proposed.
std::string Adviser::reason_against(const Call& call, const Answer& answer) const {
  if (is_foreign(call)) return "no policy can open the kernel's other ways in";
  if (answer.action == Action::Kill)
    return answer.rule->why + " (red list: only a danger block of the policy lifts it)";
  if (const auto danger = danger_of(call)) return *danger;
  const Rules own = policy_->rules_of(call.number), known = groups_->rules_of(call.number);
  const bool in_part = allows_some(own);
  const auto on_purpose = [](const FlatRule& rule) {
    return rule.why +
           (rule.group.empty() ? " (the policy's own rule)" : " (group " + rule.group + ")");
  };
  for (const Rules rules : {own, known}) {
    for (const FlatRule* rule : rules) {
      if (rule->action == Action::Allow) continue;
      if (rule->action == Action::Kill && lifted_.contains(call.number)) continue;
      const bool whole = rule->conditions.empty();
      if (whole ? !in_part && !allows_some(rules) : holds(rule->conditions, call))
        return on_purpose(*rule);
    }
  }
  return "";
}

// As an installed group allows it, else for these arguments alone.
std::vector<Condition> Adviser::narrowest(const Call& call) const {
  const Rules own = policy_->rules_of(call.number), known = groups_->rules_of(call.number);
  for (const FlatRule* rule : known) {
    if (rule->action == Action::Allow && holds(rule->conditions, call)) return rule->conditions;
  }
  std::vector<const FlatRule*> looking;
  for (const FlatRule* rule : own.empty() ? known : own) {
    if (rule->action == Action::Allow) looking.push_back(rule);
  }
  return as_called(call, looking);
}

Proposal Adviser::propose(const Call& call, std::uint64_t times) const {
  const Answer answer = policy_->answer(call);
  Proposal proposal;
  proposal.why_none = reason_against(call, answer);
  if (!proposal.why_none.empty()) return proposal;
  if (!syscall_number(syscall_name(call.number))) {
    proposal.why_none = "it has no name that a policy could use";
    return proposal;
  }
  std::string rule = "rules {\n", set = "syscalls.rules={";
  for (const std::string& field : fields(call, narrowest(call), times)) {
    rule += "  " + field + "\n";
    set += field + " ";
  }
  set.back() = '}';
  Overrides with = sets_;
  with.push_back(set);
  const auto spec = parse(source_.text, source_.path, texts_, with);
  if (!spec || Judge(effective_rules(*spec)).answer(call).action != Action::Allow) {
    proposal.why_none = "no rule of one call would allow it";
    return proposal;
  }
  proposal.rule = rule + "}\n";
  proposal.set = set;
  return proposal;
}

}  // namespace jailrun
