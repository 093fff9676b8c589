// The filter that is loaded against the one that libseccomp wrote: the same action, always.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/audit.h>

#include <algorithm>
#include <random>
#include <set>

#include "jail/compile/compile.h"
#include "jail/compile/filter.h"
#include "jail/plan/find_policy.h"
#include "jail/spec/groups.h"
#include "jail/spec/parse.h"
#include "tests/unit/bpf_eval.h"

namespace jailrun {
namespace {

using Program = std::vector<sock_filter>;

Spec spec_of(const std::string& name) {
  const auto source =
      find_policy(std::string(JAILRUN_SOURCE_DIR "/policies/") + name + ".textproto");
  EXPECT_TRUE(source) << source.error().line();
  return parse(source->text, source->path, *load_groups(*source)).value();
}

std::vector<std::string> installed() {
  std::vector<std::string> names;
  for (const std::string& file : policy_files(JAILRUN_SOURCE_DIR "/policies")) {
    names.push_back(file.substr(0, file.rfind(kPolicySuffix)));
  }
  return names;
}

constexpr int kNoVerdict = -1;
std::int64_t verdict(const Program& program, const seccomp_data& data) {
  const auto result = test::evaluate(program, data);
  return result ? result->action : kNoVerdict;
}

// The constants of a program and their neighbours: wherever an answer may change.
std::vector<std::uint32_t> edges(const Program& program) {
  std::set<std::uint32_t> values = {0, 1, 0x7fffffff, 0x80000000, ~0U};
  for (const sock_filter& in : program) {
    if (BPF_CLASS(in.code) != BPF_JMP && BPF_CLASS(in.code) != BPF_ALU) continue;
    for (const std::uint32_t value : {in.k, ~in.k}) {
      values.insert({value - 1, value, value + 1});
    }
  }
  return {values.begin(), values.end()};
}

class EveryPolicy : public testing::TestWithParam<std::string> {
 protected:
  void expect_same(const seccomp_data& data) {
    ASSERT_EQ(verdict(shrunk, data), verdict(spelled, data))
        << "call " << data.nr << " of " << std::hex << data.arch << " (" << data.args[0] << ", "
        << data.args[1] << ", " << data.args[2] << ", " << data.args[3] << ")";
  }

  Spec spec = spec_of(GetParam());
  Program spelled = spelled_filter(spec, Spelling::Linear).value();
  Program shrunk = compile_filter(spec).value();
};
INSTANTIATE_TEST_SUITE_P(Shrunk, EveryPolicy, testing::ValuesIn(installed()),
                         [](const auto& policy) {
                           std::string name = policy.param;
                           std::erase(name, '-');
                           return name;
                         });

TEST_P(EveryPolicy, decides_numbers_as_libseccomp_does_on_every_architecture) {
  std::vector<std::uint32_t> numbers = edges(spelled);
  for (std::uint32_t number = 0; number < 1024; ++number) {
    for (const std::uint32_t high : {0U, 0x40000000U, 0x80000000U, 0xc0000000U}) {
      numbers.push_back(number | high);
    }
  }
  for (const std::uint32_t arch : {std::uint32_t{AUDIT_ARCH_X86_64}, std::uint32_t{AUDIT_ARCH_I386},
                                   std::uint32_t{AUDIT_ARCH_AARCH64}, AUDIT_ARCH_X86_64 - 1U,
                                   AUDIT_ARCH_X86_64 + 1U, 0U, ~0U}) {
    for (const std::uint32_t number : numbers) {
      expect_same({static_cast<int>(number), arch, 0, {}});
    }
  }
}

TEST_P(EveryPolicy, decides_arguments_as_libseccomp_does) {
  const std::vector<std::uint32_t> values = edges(spelled);
  std::mt19937_64 random(1);
  int with_arguments = 0;
  for (int number = 0; number < 600; ++number) {
    const seccomp_data plain{number, AUDIT_ARCH_X86_64, 0, {}};
    if (!test::evaluate(spelled, plain)->looks_at_arguments) continue;
    ++with_arguments;
    // Each argument alone at each edge, in its low half, in its high half.
    for (int index = 0; index < 6; ++index) {
      for (const std::uint64_t value : values) {
        for (const std::uint64_t each : {value, value << 32, value << 32 | value}) {
          seccomp_data data = plain;
          data.args[index] = each;
          expect_same(data);
        }
      }
    }
    for (int trial = 0; trial < 20'000; ++trial) {
      seccomp_data data = plain;
      for (auto& argument : data.args) {
        argument = values[random() % values.size()];
        if (random() % 8 == 0) argument |= random() << 32;
      }
      expect_same(data);
    }
  }
  EXPECT_GT(with_arguments, 8);
}

// The kernel keeps a list of calls that are allowed whatever their arguments are, and runs no
// filter for them. It finds them by walking the filter; only these instructions does it follow.
TEST_P(EveryPolicy, lets_the_kernel_see_which_calls_are_always_allowed) {
  for (const sock_filter& in : shrunk) {
    EXPECT_THAT(in.code, testing::AnyOf(BPF_LD | BPF_W | BPF_ABS, BPF_ALU | BPF_AND | BPF_K,
                                        BPF_RET | BPF_K, BPF_JMP | BPF_JA,
                                        BPF_JMP | BPF_JEQ | BPF_K, BPF_JMP | BPF_JGT | BPF_K,
                                        BPF_JMP | BPF_JGE | BPF_K, BPF_JMP | BPF_JSET | BPF_K));
  }
  int always = 0;
  for (int number = 0; number < 1024; ++number) {
    const seccomp_data data{number, AUDIT_ARCH_X86_64, 0, {}};
    const auto before = test::evaluate(spelled, data);
    const auto after = test::evaluate(shrunk, data);
    if (before->looks_at_arguments) continue;
    EXPECT_FALSE(after->looks_at_arguments) << number;
    EXPECT_LE(after->steps, 16) << number;
    always += after->action == SECCOMP_RET_ALLOW;
  }
  EXPECT_GT(always, 100);
}

TEST_P(EveryPolicy, gives_one_program_however_libseccomp_spells_it) {
  const auto tree = shrink_filter(spelled_filter(spec, Spelling::Tree).value()).value();
  const auto bytes = [](const Program& program) {
    return std::string(reinterpret_cast<const char*>(program.data()),
                       program.size() * sizeof(sock_filter));
  };
  EXPECT_EQ(bytes(tree), bytes(shrunk));
  EXPECT_LT(shrunk.size(), spelled.size() / 2);
}

// Programs of the kinds of instructions that libseccomp writes, put together by chance.
Program random_program(std::mt19937& random, std::size_t size) {
  constexpr std::uint32_t kOffsets[] = {0, 4, 16, 20};
  constexpr std::uint32_t kMasks[] = {0, 1, 8, 0x12, 0xff, 0xfffffff0, ~0U};
  constexpr int kTests[] = {BPF_JEQ, BPF_JGT, BPF_JGE};
  Program program = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
  const auto skip = [&] {
    const std::size_t room = size - program.size() - 2;
    return static_cast<std::uint8_t>(random() % (std::min<std::size_t>(room, 5) + 1));
  };
  while (program.size() + 1 < size) {
    const std::uint32_t kind = static_cast<std::uint32_t>(random() % 20);
    if (kind < 3) {
      program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kOffsets[random() % 4]));
    } else if (kind == 3) {
      program.push_back(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kMasks[random() % 7]));
    } else if (kind == 4) {
      program.push_back(BPF_STMT(BPF_JMP | BPF_JA, skip()));
    } else if (kind < 8 && program.back().jt != program.back().jf) {
      // Behind a comparison only, so that some way goes past it.
      program.push_back(BPF_STMT(BPF_RET | BPF_K, static_cast<std::uint32_t>(random() % 6)));
    } else {
      const auto code = static_cast<std::uint16_t>(BPF_JMP | kTests[random() % 3] | BPF_K);
      program.push_back(BPF_JUMP(code, static_cast<std::uint32_t>(random() % 20), skip(), skip()));
    }
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, 7));
  return program;
}

TEST(Shrink, keeps_what_any_program_decides) {
  std::mt19937 random(1);
  std::size_t several = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    const Program program = random_program(random, 2 + random() % 60);
    const auto shrunk = shrink_filter(program);
    ASSERT_TRUE(shrunk) << shrunk.error().line();
    std::set<std::int64_t> seen;
    for (int sample = 0; sample < 500; ++sample) {
      const auto value = [&] {
        return random() % 8 == 0 ? static_cast<std::uint32_t>(random())
                                 : static_cast<std::uint32_t>(random() % 22);
      };
      const std::uint64_t argument = std::uint64_t{value()} << 32 | value();
      const seccomp_data data{static_cast<int>(value()), value(), 0, {argument}};
      const std::int64_t wanted = verdict(program, data);
      ASSERT_NE(wanted, kNoVerdict);
      ASSERT_EQ(verdict(*shrunk, data), wanted) << "program " << trial;
      seen.insert(wanted);
    }
    several += seen.size() > 1;
  }
  EXPECT_GT(several, 1000u);  // many decide nothing
}

TEST(Shrink, reaches_targets_beyond_the_span_of_a_jump) {
  Program program = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
  constexpr std::uint32_t kCalls = 900;
  for (std::uint32_t number = 0; number < kCalls; ++number) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number * 3, 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, number % 5 == 0 ? 5 : number));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, 4000));
  // 1801 cases: more than are taken.
  EXPECT_FALSE(shrink_filter(program));
  program.erase(program.begin() + 1 + 2 * 500, program.end() - 1);
  const auto shrunk = shrink_filter(program);
  ASSERT_TRUE(shrunk) << shrunk.error().line();
  EXPECT_GT(shrunk->size(), 512u);
  for (std::uint32_t number = 0; number < 3 * kCalls; ++number) {
    const seccomp_data data{static_cast<int>(number), 0, 0, {}};
    ASSERT_EQ(verdict(*shrunk, data), verdict(program, data)) << number;
  }
}

TEST(Shrink, leaves_no_trace_of_comparisons_that_decide_nothing) {
  const sock_filter same[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
                              BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 3, 0, 1),
                              BPF_STMT(BPF_RET | BPF_K, 9), BPF_STMT(BPF_RET | BPF_K, 9)};
  EXPECT_EQ(shrink_filter(same).value().size(), 1u);
}

TEST(Shrink, refuses_what_it_does_not_understand) {
  using testing::HasSubstr;
  const auto refusal = [](const Program& program) {
    const auto shrunk = shrink_filter(program);
    return shrunk ? std::string("taken") : shrunk.error().message;
  };
  constexpr sock_filter kLoad = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
  constexpr sock_filter kAllow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  EXPECT_EQ(refusal({kLoad, kAllow}), "taken");
  EXPECT_THAT(refusal({}), HasSubstr("a path has no end"));
  EXPECT_THAT(refusal({kLoad}), HasSubstr("a path has no end"));
  EXPECT_THAT(refusal({BPF_STMT(BPF_JMP | BPF_JA, 1), kAllow}), HasSubstr("no end"));
  EXPECT_THAT(refusal({BPF_STMT(BPF_JMP | BPF_JA, ~0U), kAllow}), HasSubstr("no end"));
  EXPECT_THAT(refusal(Program(BPF_MAXINSNS + 1, kAllow)), HasSubstr("too long"));
  for (const int code : {BPF_JMP | BPF_JSET | BPF_K, BPF_JMP | BPF_JEQ | BPF_X,
                         BPF_ALU | BPF_OR | BPF_K, BPF_ALU | BPF_AND | BPF_X, BPF_RET | BPF_A,
                         BPF_LD | BPF_IMM, BPF_LD | BPF_H | BPF_ABS, BPF_MISC | BPF_TAX}) {
    EXPECT_THAT(refusal({kLoad, BPF_STMT(static_cast<std::uint16_t>(code), 0), kAllow}),
                HasSubstr("is unknown"));
  }
}

TEST(Shrink, refuses_rules_that_branch_beyond_measure) {
  // Twelve words of which each of 30 values leads on by a way of its own.
  Program program;
  for (std::uint32_t offset = 16; offset < 64; offset += 4) {
    program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
    for (std::uint32_t value = 0; value < 30; ++value) {
      program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 2 * value, 0, 0));
    }
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, 1));
  const auto shrunk = shrink_filter(program);
  ASSERT_FALSE(shrunk);
  EXPECT_THAT(shrunk.error().message, testing::HasSubstr("branch too often"));
}

}  // namespace
}  // namespace jailrun
