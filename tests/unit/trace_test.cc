// What a trace says of a call, without running one: the rules read by Judge against the filter that
// the kernel gets, and which calls no rule is ever proposed for.
#include "jail/trace/proposal.h"

#include <gtest/gtest.h>
#include <linux/audit.h>

#include <cerrno>

#include "jail/compile/compile.h"
#include "jail/spec/groups.h"
#include "jail/spec/syscalls.h"
#include "jail/trace/dangers.h"
#include "tests/unit/bpf_eval.h"

namespace jailrun {
namespace {

struct Policy {
  // With `only`, a policy of these groups alone.
  explicit Policy(const std::string& name, const std::string& only = "", const Overrides& sets = {})
      : source(only.empty() ? *find_policy(JAILRUN_SOURCE_DIR "/policies/" + name + ".textproto")
                            : bare(name, only)),
        groups(*load_groups(source)),
        spec(parse(source.text, source.path, groups, sets).value()),
        adviser(source, groups, sets, spec) {}

  static PolicySource bare(const std::string& name, const std::string& only) {
    return {name + ".textproto",
            "name: \"" + name + "\" description: \"bare\" syscalls { groups: [" + only + "] }",
            {JAILRUN_SOURCE_DIR "/policies/seccomp"}};
  }

  PolicySource source;
  GroupTexts groups;
  Spec spec;
  Adviser adviser;
};

Call call_of(const std::string& name, const std::array<std::uint64_t, 6>& args = {}) {
  return {AUDIT_ARCH_X86_64, syscall_number(name).value(), args};
}

std::uint32_t filter_action(const Answer& answer) {
  if (answer.action == Action::Allow) return SECCOMP_RET_ALLOW;
  if (answer.action == Action::Kill) return SECCOMP_RET_KILL_PROCESS;
  return SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(answer.errno_value);
}

class EveryTracedPolicy : public testing::TestWithParam<const char*> {};

INSTANTIATE_TEST_SUITE_P(Installed, EveryTracedPolicy,
                         testing::Values("python", "python-strict", "python-loopback", "exec",
                                         "csv-sql"));

TEST_P(EveryTracedPolicy, is_read_as_its_filter_decides) {
  const Policy policy(GetParam());
  const std::vector<sock_filter> program = compile_filter(policy.spec).value();
  const auto compare = [&](const Call& call) {
    seccomp_data data{};
    data.nr = call.number;
    data.arch = call.arch;
    std::copy(call.args.begin(), call.args.end(), data.args);
    EXPECT_EQ(filter_action(policy.adviser.policy()->answer(call)),
              test::evaluate(program, data)->action)
        << call.arch << " " << call.number << " " << call.args[0] << " " << call.args[1];
  };
  for (int number = -1; number < 600; ++number) {
    compare({AUDIT_ARCH_X86_64, number, {}});
    compare({AUDIT_ARCH_I386, number, {}});
    if (number >= 0) compare({AUDIT_ARCH_X86_64, number | 0x40000000, {}});
  }
  for (const FlatRule& rule : effective_rules(policy.spec)) {
    for (const Condition& condition : rule.conditions) {
      for (const std::uint64_t value :
           {condition.value - 1, condition.value, condition.value + 1, ~condition.value,
            condition.value | condition.mask, condition.value | (std::uint64_t{1} << 32)}) {
        Call call{AUDIT_ARCH_X86_64, rule.call.number, {}};
        for (const Condition& other : rule.conditions) call.args[other.index.get()] = other.value;
        call.args[condition.index.get()] = value;
        compare(call);
      }
    }
  }
}

// Of all calls that this policy refuses without looking at arguments: what is proposed allows it,
// and nothing is proposed for what a group refuses on purpose.
TEST_P(EveryTracedPolicy, gets_no_proposal_for_what_is_refused_on_purpose) {
  Overrides sets;
  std::vector<Call> proposed;
  const Policy policy(GetParam());
  for (int number = 0; number < 500; ++number) {
    const Call call{AUDIT_ARCH_X86_64, number, {}};
    const Answer answer = policy.adviser.policy()->answer(call);
    if (answer.action == Action::Allow) continue;
    const Proposal proposal = policy.adviser.propose(call, 1);
    EXPECT_NE(proposal.rule.empty(), proposal.why_none.empty()) << syscall_name(number);
    EXPECT_TRUE(answer.action != Action::Kill || proposal.rule.empty()) << syscall_name(number);
    if (proposal.rule.empty()) continue;
    EXPECT_FALSE(danger_of(call)) << syscall_name(number);
    sets.push_back(proposal.set);
    proposed.push_back(call);
  }
  const Policy with(GetParam(), "", sets);
  for (const Call& call : proposed)
    EXPECT_EQ(with.adviser.policy()->answer(call).action, Action::Allow) << call.number;
  EXPECT_TRUE(compile(with.spec));
}

TEST(Proposal, is_never_made_for_these) {
  // The second names no group that would refuse them: what is installed counts all the same.
  for (const std::string& groups : {std::string(), std::string("\"base\"")}) {
    const Policy policy("python", groups);
    for (const char* name :
         {"ptrace",     "process_vm_readv", "bpf",         "mount",           "setns",
          "unshare",    "io_uring_setup",   "userfaultfd", "perf_event_open", "keyctl",
          "add_key",    "clone3",           "splice",      "memfd_secret",    "open_by_handle_at",
          "kexec_load", "init_module",      "seccomp",     "chroot",          "modify_ldt",
          "io_setup",   "quotactl_fd"})
      EXPECT_EQ(policy.adviser.propose(call_of(name), 1).rule, "") << name;
    for (const std::uint64_t family : {2u, 10u, 16u, 17u, 38u, 40u})
      EXPECT_EQ(policy.adviser.propose(call_of("socket", {family, 1}), 1).rule, "") << family;
    for (const std::uint64_t high : {std::uint64_t{0}, std::uint64_t{1} << 32})
      EXPECT_EQ(policy.adviser.propose(call_of("ioctl", {0, 0x5412 | high}), 1).rule, "");
    EXPECT_EQ(policy.adviser.propose(call_of("clone", {0x10000011}), 1).rule, "");
    EXPECT_EQ(policy.adviser.propose(call_of("prctl", {4, 1}), 1).rule, "");
    EXPECT_EQ(policy.adviser.propose(call_of("futex", {0, 6 | 128}), 1).rule, "");
    EXPECT_EQ(policy.adviser.propose(call_of("madvise", {0, 0, 12}), 1).rule, "");
    EXPECT_EQ(policy.adviser.propose({AUDIT_ARCH_I386, 1, {}}, 1).rule, "");
  }
  for (const std::string& name : dangerous_names()) EXPECT_TRUE(syscall_number(name)) << name;
}

TEST(Proposal, is_made_of_a_red_listed_call_only_after_a_danger_block_lifts_it) {
  const Policy policy("python", "", {"danger={syscall: \"ptrace\" why: \"a debugger\"}"});
  EXPECT_NE(policy.adviser.propose(call_of("ptrace"), 1).rule, "");
  EXPECT_EQ(policy.adviser.propose(call_of("process_vm_readv"), 1).rule, "");
}

TEST(Proposal, is_as_narrow_as_the_rules_that_look_at_the_call) {
  const Policy policy("python");
  EXPECT_EQ(policy.adviser.propose(call_of("ioctl", {0, 0x540f, 99}), 2).set,
            "syscalls.rules={calls: [\"ioctl\"] args { index: 1 compare: EQUAL value: 0x540f } "
            "why: \"refused 2 times in a trace; say here who needs it\"}");
  // A rule looks at prctl's second argument, but only where the first is another.
  EXPECT_EQ(policy.adviser.propose(call_of("prctl", {7, 99}), 1).set,
            "syscalls.rules={calls: [\"prctl\"] args { index: 0 compare: EQUAL value: 7 } "
            "why: \"refused 1 time in a trace; say here who needs it\"}");
  // No rule of this policy names it, but a group does that is not among its own.
  const Policy strict("python-strict");
  const Proposal timer = strict.adviser.propose(call_of("timer_create", {1}), 1);
  EXPECT_NE(timer.rule.find("calls: [\"timer_create\"]\n  why"), std::string::npos) << timer.rule;
  const Proposal sent = strict.adviser.propose(call_of("sendto", {3, 0, 0, 1}), 1);
  EXPECT_NE(sent.why_none.find("CVE-2025-38236"), std::string::npos) << sent.rule;
  EXPECT_EQ(strict.adviser.propose(call_of("fork"), 1).rule, "");
  EXPECT_EQ(strict.adviser.propose(call_of("socket", {1, 1}), 1).rule, "");
}

}  // namespace
}  // namespace jailrun
