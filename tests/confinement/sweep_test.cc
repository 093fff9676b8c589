// Every system call, tried in a live jail: what the kernel answers is what the compiled policy
// says. The sweep of tests/unit/filter_test asks an evaluator; this one asks the kernel, which
// holds the filter of this jail, by all three ways in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <sstream>

#include "jail/compile/compile.h"
#include "jail/plan/find_policy.h"
#include "jail/spec/groups.h"
#include "jail/spec/syscalls.h"
#include "tests/confinement/jailed.h"
#include "tests/confinement/session.h"
#include "tests/support/start.h"
#include "tests/unit/bpf_eval.h"

namespace jailrun::test {
namespace {

using Arguments = std::array<std::uint64_t, 6>;

struct Case {
  std::string line;
  std::uint32_t action;
};

class Cases {
 public:
  Cases() {
    const auto source = find_policy(JAILRUN_SOURCE_DIR "/policies/python.textproto");
    spec_ = parse(source->text, source->path, *load_groups(*source), {}).value();
    program_ = compile_filter(spec_).value();
    numbers();
    conditions();
  }
  std::vector<Case> all;

 private:
  void add(std::uint64_t number, const Arguments& args, bool compatible = false) {
    seccomp_data data{};
    data.nr = static_cast<int>(number);  // as the kernel takes it: the low half of rax
    data.arch = compatible ? AUDIT_ARCH_I386 : AUDIT_ARCH_X86_64;
    std::ranges::copy(args, data.args);
    std::string line = (compatible ? "sweep32 " : "sweep ") + std::to_string(number);
    for (const std::uint64_t each : args) line += " " + std::to_string(each);
    all.push_back({line, evaluate(program_, data)->action});
  }

  // Every number there is and some that there may be, by the 64-bit entry, with the x32 bit, and by
  // the 32-bit entry; numbers with a filled upper half, and negative ones.
  void numbers() {
    constexpr Arguments kNone = {}, kAll = {~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL, ~0ULL};
    for (std::uint64_t number = 0; number < 1024; ++number) {
      add(number, kAll);
      if (number < 512) add(number, kNone);
      add(number | 0x40000000, kAll);
      if (number < 512) add(number, kAll, true);
    }
    for (const std::uint64_t number :
         {std::uint64_t{SYS_getpid} | 0xffffffff00000000, std::uint64_t{SYS_ptrace} | 1UL << 32,
          ~0UL, ~1UL, 1UL << 31, 0x7fffffffUL, 0xffffffffUL})
      add(number, kAll);
  }

  // Each argument that a rule looks at: allowed, wrong and with something in its upper half, the
  // rest such that the rule's other conditions hold.
  void conditions() {
    for (const RuleGroup& group : spec_.groups) {
      for (const Rule& rule : group.rules) {
        Arguments args;
        args.fill(~0ULL);
        for (const Condition& each : rule.conditions) args[each.index.get()] = each.value;
        for (const Syscall& call : rule.calls) {
          for (const Condition& each : rule.conditions) {
            for (const std::uint64_t value :
                 {each.value, each.value + 1, each.value - 1, each.value + 1'000'000,
                  each.value ^ (each.mask & (~each.mask + 1)), each.value | 1UL << 32,
                  each.value | 1UL << 63, each.value | ~each.mask}) {
              Arguments varied = args;
              varied[each.index.get()] = value;
              add(static_cast<std::uint64_t>(call.number), varied);
            }
          }
        }
      }
    }
  }

  Spec spec_;
  std::vector<sock_filter> program_;
};

// Two calls that newer kernels let past every filter (6.13 and 6.18): uretprobe and uprobe, which
// only a trampoline of the kernel's own may make. Anybody else gets a SIGILL or ENXIO.
bool is_past_every_filter(const Case& each, const std::string& answer) {
  constexpr const char *kUretprobe = "sweep 335 ", *kUprobe = "sweep 336 ";
  return (each.line.starts_with(kUretprobe) && answer == "signal " + std::to_string(SIGILL)) ||
         (each.line.starts_with(kUprobe) && answer == "errno " + std::to_string(ENXIO));
}

// Empty where the kernel did as the policy says. An allowed call may end in any way but by SIGSYS;
// what it says then is compared with a jail that has no filter (tests/layers).
std::string contradiction(const Case& each, const std::string& answer) {
  const std::uint32_t kind = each.action & SECCOMP_RET_ACTION_FULL;
  if (is_past_every_filter(each, answer)) return {};
  if (kind == SECCOMP_RET_KILL_PROCESS && answer == "signal " + std::to_string(SIGSYS)) return {};
  if (kind == SECCOMP_RET_ERRNO &&
      answer == "errno " + std::to_string(each.action & SECCOMP_RET_DATA))
    return {};
  if (kind == SECCOMP_RET_ALLOW && answer != "signal " + std::to_string(SIGSYS)) return {};
  std::ostringstream text;
  text << each.line << ": " << answer << ", the policy says " << std::hex << each.action << "\n";
  return text.str();
}

TEST(Sweep, EveryCallIsAnsweredAsTheCompiledPolicySays) {
  const Cases cases;
  ASSERT_GT(cases.all.size(), 3000u);
  std::string text;
  for (const Case& each : cases.all) text += each.line + "\n";
  const Scratch scratch;
  const std::string file = scratch.file("cases", text);
  std::vector<std::string> answers;
  if (is_session_start()) {
    LiveSession session({std::string(JAILRUN_PROBE) + ":probe", file + ":cases"});
    const Outcome outcome = session.exec(
        "import subprocess, shutil\n"
        "shutil.copy('/data/probe', '/work/probe')\n"
        "import os; os.chmod('/work/probe', 0o755)\n"
        "said = subprocess.run(['/work/probe', 'battery', '/data/cases'], input=b'\\n',\n"
        "                      stdout=subprocess.PIPE).stdout.decode()\n"
        "print(said)");
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    std::istringstream lines(outcome.out);
    for (std::string line; std::getline(lines, line) && line != "ready";) answers.push_back(line);
  } else {
    Live jail(jailed({"battery", "/data/cases"}, {"--file", file + ":cases"}));
    for (std::string line; !(line = jail.read_line()).empty() && line != "ready";)
      answers.push_back(line);
    jail.write("\n");
    EXPECT_EQ(jail.finish().status, 0);
  }
  ASSERT_EQ(answers.size(), cases.all.size());
  std::string contradictions;
  for (std::size_t i = 0; i < answers.size(); ++i)
    contradictions += contradiction(cases.all[i], answers[i]);
  EXPECT_EQ(contradictions, "");
}

}  // namespace
}  // namespace jailrun::test
