// Each wall of a jail, taken away alone: the builder of the jail refuses it, or a probe of the
// confinement suite or the posture shows it. jail/LAYERS.md is the table of what noticed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/audit.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "jail/compile/compile.h"
#include "jail/plan/find_policy.h"
#include "jail/spec/groups.h"
#include "jail/spec/syscalls.h"
#include "tests/confinement/attempts.h"
#include "tests/confinement/posture_text.h"
#include "tests/layers/layers.h"
#include "tests/layers/noticed.h"
#include "tests/layers/removed.h"
#include "tests/unit/bpf_eval.h"

namespace jailrun::test {
namespace {

namespace fs = std::filesystem;
using testing::IsEmpty;

// --- The rules of the filter ---------------------------------------------------------------------

using Arguments = std::array<std::uint64_t, 6>;

// Arguments with which the kernel's own answer is another than the rule's: 0x400000 is where the
// probe's ELF header lies.
const std::map<std::string, Arguments> kTelling = {
    {"arch_prctl", {0x1011}},
    {"madvise", {0x400000, 4096, 12}},
    {"mmap", {0, 2 << 20, 3, 0x40022, ~0ULL, 0}},
    {"futex", {0x400000, 7}},
    {"socket", {2, 1, 0}},
    {"socketpair", {2, 1, 0, 0x400000}},
    {"memfd_create", {0x400000, 4}},
    {"personality", {0}},
    {"prlimit64", {0, 4, 0x400000}},
    {"setrlimit", {4, 0x400000}},
};

struct Family {
  std::string name, calls;  // calls: numbers, as without_layer takes them
  std::vector<Line> lines;
};

Spec spec_of_python() {
  const auto source = find_policy(JAILRUN_SOURCE_DIR "/policies/python.textproto");
  return parse(source->text, source->path, *load_groups(*source), {}).value();
}

std::string answer_of(std::uint32_t action) {
  if (action == SECCOMP_RET_KILL_PROCESS) return "signal " + std::to_string(SIGSYS);
  return "errno " + std::to_string(action & SECCOMP_RET_DATA);
}

// All that refuse something, each with a call for every call that it names.
std::vector<Family> families(const Spec& spec) {
  const std::vector<sock_filter> program = compile_filter(spec).value();
  std::vector<Family> all;
  for (const RuleGroup& group : spec.groups) {
    for (const Rule& rule : group.rules) {
      if (rule.action == Action::Allow) continue;
      Family family{"rule: " + group.name + ", " + rule.calls.front().name, "", {}};
      if (rule.calls.size() > 1) family.name += " …";
      for (const Syscall& call : rule.calls) {
        Arguments args;
        args.fill(~0ULL);
        for (const Condition& condition : rule.conditions)
          args[condition.index.get()] = condition.value;
        if (const auto told = kTelling.find(call.name); told != kTelling.end()) args = told->second;
        seccomp_data data{};
        data.nr = call.number;
        data.arch = AUDIT_ARCH_X86_64;
        std::ranges::copy(args, data.args);
        const std::uint32_t action = evaluate(program, data)->action;
        if (action == SECCOMP_RET_ALLOW) continue;  // this rule is about other arguments
        std::string text = "sweep " + std::to_string(call.number);
        for (const std::uint64_t each : args) text += " " + std::to_string(each);
        family.lines.push_back({"sweep: " + call.name, text, {answer_of(action)}});
        family.calls += (family.calls.empty() ? "" : ",") + std::to_string(call.number);
      }
      all.push_back(std::move(family));
    }
  }
  return all;
}

// --- The jails -----------------------------------------------------------------------------------

class Layers : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (::geteuid() != 0) return;
    neighbour_ = waiting_jail({"listen-abstract", neighbour_name()}).release();
  }
  static void TearDownTestSuite() { delete std::exchange(neighbour_, nullptr); }
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_NE(neighbour_, nullptr);
  }

  // With all walls: what is compared with, by who built the jail.
  void show_whole(const std::vector<Line>& lines) {
    for (const Builder builder : {Builder::Jailrun, Builder::Unattested}) {
      Shown& whole = builder == Builder::Jailrun ? attested_ : unattested_;
      whole = show_without("nothing", builder, texts(lines));
      ASSERT_EQ(whole.refused, "");
      Noticed nothing;
      compare(whole, whole, lines, nothing);
      ASSERT_THAT(nothing.probes, IsEmpty()) << "the twin: with all walls nothing is noticed";
    }
  }

  Noticed without(const std::string& layer, const std::vector<Line>& lines) const {
    Noticed noticed;
    Shown shown = show_without(layer, Builder::Jailrun, texts(lines));
    const bool seen = shown.refused.find("the jail is not what was asked for") != std::string::npos;
    if (!shown.refused.empty()) noticed.builder = cause(shown.refused);
    if (seen) shown = show_without(layer, Builder::Unattested, texts(lines));
    compare(seen ? unattested_ : attested_, shown, lines, noticed);
    return noticed;
  }

  // The channel of an init that keeps its end never ends: nobody hears that the guest has begun.
  static Noticed without_closing_init(const std::vector<Line>& lines) {
    constexpr int kWallLimit = 124;
    const Shown shown = show_without("init's descriptors closed", Builder::Jailrun, texts(lines));
    if (shown.status != kWallLimit) return {};
    return {"the run is not seen to begin, and ends at its wall limit", {}, {}};
  }

  // Whether a jail lives on whose owner is killed.
  static bool outlives_its_owner(const std::string& layer, int patience_ms) {
    bool lives = false;
    show_without(layer, Builder::Jailrun, {}, [&](const Live& jail) {
      const pid_t init = jail.init();
      const Fd pidfd = open_pidfd(init);
      jail.send(SIGKILL);
      lives = !ends_within(pidfd, patience_ms);
      if (lives) ::kill(init, SIGKILL);
      EXPECT_TRUE(ends_within(pidfd, 20'000));
    });
    return lives;
  }

  Shown attested_, unattested_;
  inline static Live* neighbour_ = nullptr;
};

// What the builder itself is not allowed cannot be taken away.
bool is_the_owners_own(const std::string& layer) {
  rlimit own{};
  ::getrlimit(layer == "rlimit nice" ? RLIMIT_NICE : RLIMIT_RTPRIO, &own);
  return (layer == "rlimit nice" || layer == "rlimit real-time priority") && own.rlim_max == 0;
}

TEST_F(Layers, EachTakenAwayAloneIsNoticed) {
  const std::vector<Line> battery = attempts();
  show_whole({});
  ASSERT_FALSE(HasFatalFailure());
  std::map<std::string, Noticed> of_python;
  for (const char* name : {"tmpfs noexec", "signal mask reset"})
    of_python[name] = without(name, {});
  EXPECT_FALSE(outlives_its_owner("nothing", 20'000)) << "the twin";
  show_whole(battery);
  ASSERT_FALSE(HasFatalFailure());
  std::string table;
  for (const layers::Layer* layer = layers::kLayers; layer->name != nullptr; ++layer) {
    const std::string name = layer->name;
    if (is_the_owners_own(name)) {
      table += row(name, layer->removed, {"nothing to take away: root's own is 0 here", {}, {}});
      continue;
    }
    Noticed noticed = name == "init's descriptors closed" ? without_closing_init(battery)
                      : of_python.contains(name)          ? of_python[name]
                                                          : without(name, battery);
    if (name == "death signal" && outlives_its_owner(name, 300))
      noticed.probes.insert("KillingItsOwner");
    EXPECT_TRUE(noticed.anything()) << name;
    table += row(name, layer->removed, noticed);
  }
  expect_section("Walls", table);
}

TEST_F(Layers, EachRuleOfTheFilterTakenAwayAloneIsNoticed) {
  const std::vector<Family> rules = families(spec_of_python());
  std::vector<Line> all;
  for (const Family& family : rules)
    all.insert(all.end(), family.lines.begin(), family.lines.end());
  show_whole(all);
  ASSERT_FALSE(HasFatalFailure());
  std::string table;
  for (const Family& family : rules) {
    Noticed noticed;
    const Shown shown =
        show_without("allow=" + family.calls, Builder::Jailrun, texts(family.lines));
    EXPECT_EQ(shown.refused, "");
    compare(shown, shown, family.lines, noticed);
    EXPECT_THAT(noticed.probes, testing::Not(IsEmpty())) << family.name;
    table += "| " + family.name + " | " + joined(noticed.probes) + " |\n";
  }
  expect_section("Rules of the filter", table);
}

// A wall behind another: taken away alone it changes nothing that can be seen, so it is looked at
// where the first has fallen.
struct SecondWall {
  const char *name, *first, *both;
  Builder builder;
  const char* attempt;
  int behind_the_first;
};

TEST_F(Layers, ASecondWallStandsWhereTheFirstHasFallen) {
  constexpr SecondWall kSecond[] = {
      {"Landlock's ports", "allow=41", "allow=41;Landlock ports", Builder::Jailrun,
       "connect-tcp 127.0.0.1 9", EACCES},
      {"Landlock's paths", "proc read-only", "proc read-only;Landlock", Builder::Unattested,
       "open-write /proc/self/oom_score_adj", EACCES},
  };
  for (const SecondWall& wall : kSecond) {
    SCOPED_TRACE(wall.name);
    EXPECT_THAT(show_without(wall.first, wall.builder, {wall.attempt}).answers,
                testing::ElementsAre(std::to_string(wall.behind_the_first)));
    EXPECT_THAT(show_without(wall.both, wall.builder, {wall.attempt}).answers,
                testing::ElementsAre(testing::Ne(std::to_string(wall.behind_the_first))));
  }
}

}  // namespace
}  // namespace jailrun::test
