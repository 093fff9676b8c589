// policies/CALLS.md against what policies allow: a call that is allowed has a user or a reason
// there.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "jail/compile/compile.h"
#include "jail/plan/find_policy.h"
#include "jail/spec/explain.h"
#include "jail/spec/groups.h"
#include "jail/spec/parse.h"
#include "jail/spec/rules.h"
#include "jail/spec/syscalls.h"
#include "tests/unit/bpf_eval.h"

namespace jailrun {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Lines = std::vector<std::string>;

Spec installed(const std::string& name, const Overrides& sets = {}) {
  const auto source = find_policy(JAILRUN_SOURCE_DIR "/policies/" + name + ".textproto");
  const auto spec = parse(source->text, source->path, load_groups(*source).value(), sets);
  if (!spec) ADD_FAILURE() << spec.error().front().text();
  return spec.value_or(Spec{});
}

// Arguments that the rule's conditions hold of.
seccomp_data fitting(const FlatRule& rule) {
  seccomp_data data{};
  data.nr = rule.call.number;
  data.arch = AUDIT_ARCH_X86_64;
  for (const Condition& condition : rule.conditions) {
    std::uint64_t value = condition.value;
    if (condition.compare == Compare::Less) --value;
    if (condition.compare == Compare::Greater || condition.compare == Compare::NotEqual) ++value;
    data.args[condition.index.get()] = value;
  }
  return data;
}

bool allows(const std::vector<sock_filter>& filter, const seccomp_data& data) {
  const auto seen = test::evaluate(filter, data);
  EXPECT_TRUE(seen) << data.nr;
  return seen && seen->action == SECCOMP_RET_ALLOW;
}

// What the compiled filter lets pass, in the words of `explain`: each rule that allows a call is
// tried with arguments of its own, and every number with arguments of all rules and none. A number
// that passes without such a rule is a fault.
std::set<std::string> allowed_by(const Spec& spec) {
  const std::vector<sock_filter> filter = compile_filter(spec).value();
  std::set<std::string> calls;
  std::map<int, std::vector<seccomp_data>> tries;
  std::set<int> numbers;
  for (const FlatRule& rule : effective_rules(spec)) {
    const seccomp_data data = fitting(rule);
    tries[data.nr].push_back(data);
    if (rule.action != Action::Allow) continue;
    EXPECT_TRUE(allows(filter, data)) << rule.call.name << ": its own rule does not allow it";
    calls.insert(call_in_words(rule.call.name, rule.conditions));
    numbers.insert(data.nr);
  }
  for (int number = 0; number < 1024; ++number) {
    for (const std::uint64_t argument : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}}) {
      seccomp_data data{};
      data.nr = number;
      data.arch = AUDIT_ARCH_X86_64;
      std::fill(std::begin(data.args), std::end(data.args), argument);
      tries[number].push_back(data);
    }
  }
  for (const auto& [number, all] : tries) {
    for (const seccomp_data& data : all)
      EXPECT_TRUE(!allows(filter, data) || numbers.contains(number)) << syscall_name(number);
  }
  return calls;
}

// The table, and what is wrong with it as a proof for `allowed`.
Lines faults(const std::string& text, const std::set<std::string>& allowed) {
  Lines found;
  std::set<std::string> listed;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t end = line.find("` | ");
    if (!line.starts_with("| `") || end == std::string::npos) continue;
    const std::string call = line.substr(3, end - 3);
    const std::string rest = line.substr(end + 4, line.rfind(" |") - end - 4);
    if (!listed.insert(call).second) found.push_back(call + " is there twice");
    if (!allowed.contains(call)) found.push_back(call + " is not allowed");
    if (rest.empty() || rest.starts_with("0 | 0 |"))
      found.push_back(call + " has no user and no reason");
  }
  for (const std::string& call : allowed)
    if (!listed.contains(call)) found.push_back(call + " is not listed");
  return found;
}

std::string table() {
  std::stringstream text;
  text << std::ifstream(JAILRUN_SOURCE_DIR "/policies/CALLS.md").rdbuf();
  return text.str();
}

// The others (python-strict, the csv ones, python-loopback) name other groups.
TEST(Calls, TheTableHasWhatTheCompiledPolicyAllows) {
  for (const char* name :
       {"python", "exec", "standard", "genomic", "interpreter", "pandasai", "python-unlimited"}) {
    SCOPED_TRACE(name);
    EXPECT_THAT(faults(table(), allowed_by(installed(name))), IsEmpty())
        << "tests/realwork/calls --stdlib --write makes it anew";
  }
}

TEST(Calls, ATableThatIsNoProofOfThePolicyIsNoticed) {
  const auto more = allowed_by(
      installed("python", {"syscalls.rules={calls: 'shmget' why: 'w'}",
                           "syscalls.rules={calls: 'prctl' args { index: 0 compare: EQUAL value: "
                           "7 } why: 'w'}"}));
  EXPECT_THAT(faults(table(), more),
              ElementsAre("prctl where args[0] == 7 is not listed", "shmget is not listed"));
  const std::set<std::string> two = {"read", "write"};
  EXPECT_THAT(faults("| `read` | 3 | 0 | a |\n| `write` | input and output |\n", two), IsEmpty());
  EXPECT_THAT(faults("| `read` | 0 | 0 | a |\n| `write` |  |\n| `read` | 1 | 0 | a |\n"
                     "| `bpf` | 1 | 0 | a |\n",
                     two),
              ElementsAre("read has no user and no reason", "write has no user and no reason",
                          "read is there twice", "bpf is not allowed"));
}

}  // namespace
}  // namespace jailrun
