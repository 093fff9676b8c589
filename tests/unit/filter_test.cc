// The filter as a pure function of (number, architecture, arguments): no kernel is asked.
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <sys/syscall.h>

#include <random>

#include "jail/compile/compile.h"
#include "jail/plan/find_policy.h"
#include "jail/spec/groups.h"
#include "jail/spec/syscalls.h"
#include "tests/unit/bpf_eval.h"
#include "tests/unit/plain_reading.h"

namespace jailrun {
namespace {

constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW, kKill = SECCOMP_RET_KILL_PROCESS;
constexpr std::uint32_t error(int value) {
  return SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(value);
}

using Arguments = std::array<std::uint64_t, 6>;

Spec spec_of(const std::string& name, const Overrides& sets = {}) {
  const auto source =
      find_policy(std::string(JAILRUN_SOURCE_DIR "/policies/") + name + ".textproto");
  EXPECT_TRUE(source) << source.error().line();
  const auto groups = load_groups(*source);
  const auto spec = parse(source->text, source->path, *groups, sets);
  if (!spec) {
    for (const Fault& fault : spec.error()) ADD_FAILURE() << fault.text();
  }
  return spec.value();
}

class Filter {
 public:
  explicit Filter(const std::string& policy, const Overrides& sets = {})
      : spec(spec_of(policy, sets)), program(compile_filter(spec).value()) {}

  std::uint32_t raw(int number, const Arguments& args = {},
                    std::uint32_t arch = AUDIT_ARCH_X86_64) const {
    seccomp_data data{};
    data.nr = number;
    data.arch = arch;
    std::copy(args.begin(), args.end(), data.args);
    const auto result = test::evaluate(program, data);
    EXPECT_TRUE(result) << "no verdict for call " << number;
    return result ? result->action : 0;
  }
  std::uint32_t operator()(const std::string& call, const Arguments& args = {}) const {
    return raw(syscall_number(call).value(), args);
  }

  Spec spec;
  std::vector<sock_filter> program;
};

// What the rules of a Spec mean, read straight from policy.proto, without the code under test:
// KILL, ERRNO with arguments, ALLOW, ERRNO without, ENOSYS.
std::uint32_t reference(const Spec& spec, int number, const Arguments& args) {
  std::vector<const Rule*> rules;
  for (const RuleGroup& group : spec.groups) {
    for (const Rule& rule : group.rules) rules.push_back(&rule);
  }
  for (const Rule& rule : spec.rules) rules.push_back(&rule);
  std::vector<const Rule*> mine;
  for (const Rule* rule : rules) {
    const bool named = std::any_of(rule->calls.begin(), rule->calls.end(),
                                   [&](const Syscall& call) { return call.number == number; });
    if (!named) continue;
    std::erase_if(mine, [&](const Rule* other) {
      return other->action != Action::Kill && other->conditions == rule->conditions;
    });
    mine.push_back(rule);
  }
  const auto first = [&](auto&& wanted) -> const Rule* {
    for (const Rule* rule : mine) {
      const bool all =
          std::all_of(rule->conditions.begin(), rule->conditions.end(),
                      [&](const Condition& one) { return holds(one, args[one.index.get()]); });
      if (all && wanted(*rule)) return rule;
    }
    return nullptr;
  };
  if (first([](const Rule& rule) { return rule.action == Action::Kill; })) return kKill;
  if (const Rule* rule = first([](const Rule& each) {
        return each.action == Action::Errno && !each.conditions.empty();
      })) {
    return error(rule->errno_value);
  }
  if (first([](const Rule& rule) { return rule.action == Action::Allow; })) return kAllow;
  if (const Rule* rule = first([](const Rule& each) { return each.action == Action::Errno; })) {
    return error(rule->errno_value);
  }
  return error(ENOSYS);
}

class EveryPolicy : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Installed, EveryPolicy,
                         testing::Values("python", "python-strict", "python-loopback", "exec"),
                         [](const auto& policy) {
                           std::string name = policy.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST_P(EveryPolicy, answers_every_number_as_its_rules_say) {
  const Filter filter(GetParam());
  for (int number = 0; number < 1024; ++number) {
    EXPECT_EQ(filter.raw(number), reference(filter.spec, number, {})) << syscall_name(number);
  }
}

// Values at and around every constant of the rules, in either half of the argument.
TEST_P(EveryPolicy, answers_every_argument_near_a_rule_as_its_rules_say) {
  const Filter filter(GetParam());
  std::map<int, std::vector<const Condition*>> conditions;
  for (const RuleGroup& group : filter.spec.groups) {
    for (const Rule& rule : group.rules) {
      for (const Syscall& call : rule.calls) {
        for (const Condition& condition : rule.conditions) {
          conditions[call.number].push_back(&condition);
        }
      }
    }
  }
  ASSERT_GT(conditions.size(), 8u);
  std::mt19937_64 random(1);
  for (const auto& [number, of_call] : conditions) {
    std::vector<std::uint64_t> values = {0, 1, ~0ULL, 1ULL << 31, 1ULL << 32, 1ULL << 63};
    for (const Condition* condition : of_call) {
      for (const std::uint64_t value : {condition->value, condition->value | ~condition->mask}) {
        for (const std::uint64_t change :
             {0ULL, 1ULL, ~0ULL, 1'000'000ULL, 1ULL << 32, 1ULL << 63}) {
          values.push_back(value + change);
          values.push_back(value ^ change);
        }
      }
    }
    for (int trial = 0; trial < 20'000; ++trial) {
      Arguments args;
      for (std::uint64_t& argument : args) argument = values[random() % values.size()];
      if (trial % 7 == 0) args[random() % 6] = random();
      ASSERT_EQ(filter.raw(number, args), reference(filter.spec, number, args))
          << syscall_name(number) << "(" << args[0] << ", " << args[1] << ", " << args[2] << ")";
    }
  }
}

TEST_P(EveryPolicy, kills_foreign_architectures_before_it_looks_at_numbers) {
  const Filter filter(GetParam());
  for (const std::uint32_t arch :
       {std::uint32_t{AUDIT_ARCH_I386}, std::uint32_t{AUDIT_ARCH_AARCH64}, 0u, ~0u}) {
    for (int number = -1; number < 512; ++number) ASSERT_EQ(filter.raw(number, {}, arch), kKill);
  }
}

TEST_P(EveryPolicy, kills_every_x32_number) {
  const Filter filter(GetParam());
  for (int number = 0; number < 1024; ++number) {
    ASSERT_EQ(filter.raw(number | 0x40000000), kKill) << number;
  }
  for (const int number : {INT32_MIN, INT32_MAX, -2})
    EXPECT_EQ(filter.raw(number), kKill) << number;
}

TEST_P(EveryPolicy, fails_number_minus_one_with_enosys) {
  EXPECT_EQ(Filter(GetParam()).raw(-1), error(ENOSYS));
}

TEST_P(EveryPolicy, fits_a_plan) { EXPECT_LE(Filter(GetParam()).program.size(), 256u); }

TEST(Filter, kills_the_red_list) {
  const Filter filter("python");
  for (const char* call : {"ptrace",
                           "process_vm_readv",
                           "process_vm_writev",
                           "pidfd_getfd",
                           "bpf",
                           "mount",
                           "umount2",
                           "pivot_root",
                           "fsopen",
                           "fsconfig",
                           "fsmount",
                           "fspick",
                           "move_mount",
                           "open_tree",
                           "open_tree_attr",
                           "mount_setattr",
                           "setns",
                           "open_by_handle_at",
                           "kexec_load",
                           "init_module",
                           "finit_module",
                           "delete_module",
                           "reboot",
                           "swapon",
                           "iopl",
                           "ioperm"}) {
    EXPECT_EQ(filter(call), kKill) << call;
  }
}

TEST(Filter, answers_what_libraries_probe_for_with_an_errno) {
  const Filter filter("python");
  for (const char* call : {"io_uring_setup",
                           "io_uring_enter",
                           "io_uring_register",
                           "clone3",
                           "keyctl",
                           "add_key",
                           "memfd_secret",
                           "seccomp",
                           "landlock_create_ruleset",
                           "statmount",
                           "listmount",
                           "mincore",
                           "cachestat",
                           "futex_waitv",
                           "futex_wait",
                           "futex_wake",
                           "futex_requeue",
                           "splice",
                           "vmsplice",
                           "tee",
                           "sendfile",
                           "copy_file_range",
                           "map_shadow_stack",
                           "modify_ldt",
                           "shmget",
                           "mq_open"}) {
    EXPECT_EQ(filter(call), error(ENOSYS)) << call;
  }
  for (const char* call :
       {"unshare", "chroot", "userfaultfd", "perf_event_open", "mlock", "mlockall", "mlock2",
        "sched_setscheduler", "sched_setattr", "setuid", "capset", "settimeofday", "sethostname"}) {
    EXPECT_EQ(filter(call), error(EPERM)) << call;
  }
}

TEST(Filter, allows_what_a_threaded_program_would_break_without) {
  const Filter filter("python");
  for (const char* call :
       {"statx", "openat2", "faccessat2", "rseq", "close_range", "membarrier", "getrandom",
        "set_robust_list", "sched_setaffinity", "execve", "execveat", "kill", "tgkill",
        "memfd_create", "prlimit64", "pidfd_open"}) {
    EXPECT_EQ(filter(call), kAllow) << call;
  }
}

TEST(Filter, allows_threads_and_fork_but_no_namespace) {
  const Filter filter("python");
  constexpr std::uint64_t kThread = 0x3d0f00, kFork = 0x1200011, kSpawn = 0x4111;
  for (const std::uint64_t flags : {kThread, kFork, kSpawn}) {
    EXPECT_EQ(filter("clone", {flags}), kAllow);
    // NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, PARENT, PTRACE, UNTRACED.
    for (const std::uint64_t more : {0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000,
                                     0x20000000, 0x40000000, 0x8000, 0x2000, 0x800000}) {
      EXPECT_EQ(filter("clone", {flags | more}), error(EPERM)) << std::hex << more;
      EXPECT_EQ(filter("clone", {flags | more | 0xdead00000000}), error(EPERM)) << std::hex << more;
    }
  }
}

TEST(Filter, allows_seven_futex_operations_and_none_with_inheritance) {
  const Filter filter("python");
  for (const std::uint64_t flags : {0, 128, 256, 384}) {
    for (std::uint64_t operation = 0; operation < 128; ++operation) {
      const bool plain =
          operation <= 1 || (operation >= 3 && operation <= 5) || operation == 9 || operation == 10;
      const std::uint32_t wanted = plain ? kAllow : error(ENOSYS);
      EXPECT_EQ(filter("futex", {0, operation | flags}), wanted) << operation;
      EXPECT_EQ(filter("futex", {0, operation | flags | (7ULL << 40)}), wanted) << operation;
    }
  }
}

TEST(Filter, allows_local_sockets_only) {
  const Filter filter("python");
  for (std::uint64_t family = 0; family < 64; ++family) {
    const std::uint32_t wanted = family == 1 ? kAllow : error(EAFNOSUPPORT);
    EXPECT_EQ(filter("socket", {family, 1}), wanted) << family;
    EXPECT_EQ(filter("socketpair", {family, 1}), wanted) << family;
  }
  EXPECT_EQ(filter("socket", {0x1'0000'0001, 1}), error(EAFNOSUPPORT));
}

TEST(Filter, allows_internet_sockets_under_loopback_but_no_raw_ones) {
  const Filter filter("python-loopback");
  for (const std::uint64_t family : {2, 10}) {
    for (const std::uint64_t flags : {0, 0x800, 0x80000, 0x80800}) {
      EXPECT_EQ(filter("socket", {family, 1 | flags}), kAllow);
      EXPECT_EQ(filter("socket", {family, 2 | flags}), kAllow);
      EXPECT_EQ(filter("socket", {family, 3 | flags}), error(EAFNOSUPPORT));
    }
  }
  EXPECT_EQ(filter("socket", {16, 3}), error(EAFNOSUPPORT));  // netlink
}

TEST(Filter, refuses_out_of_band_data) {
  const Filter filter("python");
  EXPECT_EQ(filter("sendto", {3, 0, 1, 0}), kAllow);
  EXPECT_EQ(filter("sendto", {3, 0, 1, 0x4000}), kAllow);
  EXPECT_EQ(filter("sendto", {3, 0, 1, 1}), error(EOPNOTSUPP));
  EXPECT_EQ(filter("sendto", {3, 0, 1, 0x4001 | (1ULL << 32)}), error(EOPNOTSUPP));
  EXPECT_EQ(filter("recvmsg", {3, 0, 0}), kAllow);
  EXPECT_EQ(filter("recvmsg", {3, 0, 1}), error(EOPNOTSUPP));
  EXPECT_EQ(filter("setsockopt", {3, 1, 42}), error(ENOPROTOOPT));
  EXPECT_EQ(filter("setsockopt", {3, 1, 16}), kAllow);
}

TEST(Filter, refuses_terminal_injection_with_any_high_bits) {
  const Filter filter("python");
  EXPECT_EQ(filter("ioctl", {0, 0x5401}), kAllow);
  for (const std::uint64_t command : {0x5412, 0x541c, 0x5452, 0xae80}) {
    for (const std::uint64_t high : {0ULL, 1ULL << 32, 0xffffffffULL << 32}) {
      EXPECT_EQ(filter("ioctl", {0, command | high}), error(ENOTTY)) << std::hex << command;
    }
  }
}

TEST(Filter, allows_a_few_process_controls) {
  const Filter filter("python");
  for (const std::uint64_t option : {15, 16, 3, 4, 23, 39, 0x53564d41}) {
    EXPECT_EQ(filter("prctl", {option}), kAllow) << option;
  }
  for (const std::uint64_t dumpable : {1, 2}) {
    EXPECT_EQ(filter("prctl", {4, dumpable}), error(EPERM)) << dumpable;
  }
  // PDEATHSIG, SECCOMP, SECUREBITS, MM, SYSCALL_USER_DISPATCH, SCHED_CORE, PTRACER, IO_FLUSHER,
  // MCE_KILL.
  for (const std::uint64_t option : {1, 22, 28, 35, 59, 62, 0x59616d61, 57, 33}) {
    EXPECT_EQ(filter("prctl", {option}), error(EPERM)) << option;
    EXPECT_EQ(filter("prctl", {option | (1ULL << 32)}), error(EPERM)) << option;
  }
  EXPECT_EQ(filter("personality", {0xffffffff}), kAllow);
  for (const std::uint64_t persona : {0, 8, 0x40000, 0x400000}) {
    EXPECT_EQ(filter("personality", {persona}), error(EPERM));
  }
  EXPECT_EQ(filter("arch_prctl", {0x1002}), kAllow);
  EXPECT_EQ(filter("arch_prctl", {0x3001}), error(EINVAL));
  EXPECT_EQ(filter("arch_prctl", {0x1023}), error(EINVAL));
  EXPECT_EQ(filter("fcntl", {1, 1030}), kAllow);
  for (const std::uint64_t command : {8, 10, 15, 1024, 1026}) {
    EXPECT_EQ(filter("fcntl", {1, command}), error(EINVAL)) << command;
  }
}

TEST(Filter, starts_no_child_under_the_strict_policy) {
  const Filter filter("python-strict");
  EXPECT_EQ(filter("clone", {0x3d0f00}), kAllow);  // a thread
  EXPECT_EQ(filter("clone", {0x1200011}), error(EPERM));
  EXPECT_EQ(filter("fork"), error(EPERM));
  EXPECT_EQ(filter("socket", {1, 1}), error(EAFNOSUPPORT));
  EXPECT_EQ(filter("execveat"), error(ENOSYS));
}

TEST(Filter, lifts_a_call_off_the_red_list_only_by_danger) {
  const std::string rule = "syscalls.rules={calls: 'ptrace' why: 'a debugger'}";
  const Filter lifted("python", {rule, "danger={syscall: 'ptrace' why: 'a debugger'}"});
  EXPECT_EQ(lifted("ptrace"), kAllow);
  EXPECT_EQ(lifted("process_vm_readv"), kKill);
  const Filter only_lifted("python", {"danger={syscall: 'ptrace' why: 'a debugger'}"});
  EXPECT_EQ(only_lifted("ptrace"), error(ENOSYS));
}

TEST(Filter, keeps_refusals_apart_that_overlap) {
  const Filter filter("python",
                      {"syscalls.rules={calls: 'getpid' action: ERRNO error: 'EIO' why: 'x' "
                       "args: {index: 0 compare: GREATER value: 5}}",
                       "syscalls.rules={calls: 'getpid' action: ERRNO error: 'EBUSY' why: 'x' "
                       "args: {index: 0 compare: GREATER value: 3}}"});
  EXPECT_EQ(filter("getpid", {6}), error(EIO));
  EXPECT_EQ(filter("getpid", {5}), error(EBUSY));
  EXPECT_EQ(filter("getpid", {3}), kAllow);
}

TEST(Evaluator, refuses_programs_that_are_none) {
  const sock_filter endless[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
  EXPECT_FALSE(test::evaluate(endless, {}));
}

}  // namespace
}  // namespace jailrun
