// The installed policies: each has the limits that its product had; what a base gives, and what
// Python is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "jail/compile/compile.h"
#include "jail/plan/find_policy.h"
#include "jail/spec/environment.h"
#include "jail/spec/groups.h"
#include "jail/spec/parse.h"
#include "jail/spec/python.h"

namespace jailrun {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

Spec installed(const std::string& name) {
  const auto source = find_policy(JAILRUN_SOURCE_DIR "/policies/" + name + ".textproto");
  const auto spec = parse(source->text, source->path, load_groups(*source).value());
  EXPECT_TRUE(spec) << spec.error().front().text();
  return spec.value_or(Spec{});
}

struct Row {
  const char* policy;
  std::uint64_t wall_s, wall_most_s;
  double cpus;
  std::uint64_t tmp_mib, work_mib, output_bytes;
  bool packages;
};

TEST(Policies, HaveTheLimitsOfTheProductsThatTheyReplace) {
  const Row rows[] = {
      {"standard", 60, 300, 1.0, 64, 64, 1 << 20, true},
      {"genomic", 30, 300, 1.0, 100, 50, 1 << 20, true},
      {"interpreter", 60, 300, 1.0, 128, 128, 100'000, true},
      {"pandasai", 60, 300, 1.0, 128, 128, 1 << 20, true},
      {"csv-strict", 10, 60, 0.5, 64, 64, 65536, false},
      {"csv-sql", 10, 60, 0.5, 64, 64, 65536, false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.policy);
    const Spec spec = installed(row.policy);
    EXPECT_EQ(spec.limits.memory_bytes.get(), 512 * kMiB);
    EXPECT_EQ(spec.limits.pids.get(), 64u);
    EXPECT_EQ(spec.limits.wall_ns.get(), row.wall_s * kSecond);
    EXPECT_EQ(spec.limits.wall_most_ns.get(), row.wall_most_s * kSecond);
    EXPECT_EQ(spec.limits.cpus.get(), row.cpus);
    EXPECT_EQ(spec.files.tmp_bytes.get(), row.tmp_mib * kMiB);
    EXPECT_EQ(spec.files.work_bytes.get(), row.work_mib * kMiB);
    EXPECT_EQ(spec.limits.file_size_bytes.get(), row.work_mib * kMiB);
    EXPECT_EQ(spec.limits.output_bytes.get(), row.output_bytes);
    EXPECT_FALSE(spec.files.exec);
    EXPECT_EQ(spec.network, SpecNetwork::None);
    EXPECT_EQ(spec.packages, row.packages);
    EXPECT_TRUE(compile(spec));
  }
}

// --- base ---------------------------------------------------------------------------------------

GroupTexts texts(const std::string& base) {
  GroupTexts groups = {
      {"one", {"one", "name: 'one' description: 'd' rules { calls: 'read' why: 'w' }"}},
      {"two", {"two", "name: 'two' description: 'd' rules { calls: 'write' why: 'w' }"}}};
  groups.policies.emplace("b", GroupText{"b.textproto", base});
  return groups;
}
const std::string kBase =
    "name: 'b' description: 'd' limits { wall: '10s' pids: 9 } files { work: '8MiB' exec: true } "
    "syscalls { groups: 'one' } environment { key: 'A' value: '1' } "
    "environment { key: 'B' value: '2' } overridable: 'limits.wall' pool { max: 3 } packages: true";

Spec based(const std::string& text, const Overrides& sets = {}) {
  auto spec =
      parse("name: 'p' description: 'p' base: 'b' " + text, "p.textproto", texts(kBase), sets);
  if (!spec) ADD_FAILURE() << spec.error().front().text();
  return spec.value_or(Spec{});
}

std::string fault(const std::string& text, const std::string& base = kBase) {
  const auto spec = parse(text, "p.textproto", texts(base));
  return spec ? "" : spec.error().front().text();
}

TEST(Base, GivesWhatAPolicyDoesNotWrite) {
  Spec like = based("");
  Spec same = parse(kBase, "b.textproto", texts(kBase)).value();
  like.name = same.name;
  like.description = same.description;
  EXPECT_EQ(like, same);
}

TEST(Base, GivesWayFieldByFieldAndDerivedLimitsFollow) {
  const Spec spec = based(
      "limits { wall: '20s' } files { work: '4MiB' exec: false } packages: false "
      "environment { key: 'A' value: '3' } syscalls { groups: 'two' } overridable: 'limits.pids'");
  EXPECT_EQ(spec.limits.wall_ns.get(), 20 * kSecond);
  EXPECT_EQ(spec.limits.wall_most_ns.get(), 20 * kSecond);
  EXPECT_EQ(spec.limits.cpu_ns.get(), 20 * kSecond);
  EXPECT_EQ(spec.limits.pids.get(), 9u);
  EXPECT_EQ(spec.limits.file_size_bytes.get(), 4 * kMiB);
  EXPECT_FALSE(spec.files.exec);
  EXPECT_FALSE(spec.packages);
  EXPECT_THAT(expanded_environment(spec), ElementsAre("A=3", "B=2"));
  ASSERT_EQ(spec.groups.size(), 1u);
  EXPECT_EQ(spec.groups[0].name, "two");
  EXPECT_THAT(spec.overridable, ElementsAre("limits.pids"));
}

TEST(Base, KeepsItsGroupsWhereOneIsSetFromOutside) {
  const Spec spec = based("", {"syscalls.groups=two"});
  ASSERT_EQ(spec.groups.size(), 2u);
  EXPECT_EQ(spec.groups[1].name, "two");
}

TEST(Base, IsOneStepAndNeverADanger) {
  const std::string head = "name: 'p' description: 'p' base: ";
  EXPECT_THAT(fault(head + "'c'"), HasSubstr("base: 'c' is not an installed policy"));
  EXPECT_THAT(fault(head + "'b'", kBase + " base: 'b'"), HasSubstr("b.textproto:1:"));
  EXPECT_THAT(fault(head + "'b'", kBase + " danger { missing_limit: PIDS why: 'w' }"),
              HasSubstr("has a danger block"));
  EXPECT_THAT(fault(head + "'b'", kBase + " files { tmp: '1' }"), HasSubstr("b.textproto:1:"));
}

// --- python -------------------------------------------------------------------------------------

TEST(Python, IsToldAsJsonAndOnlyWhatIsNoTextOfItsOwn) {
  const Spec spec = based(
      "python { imports: 'import numpy as np' preload: 'seaborn' code { refused_calls: 'os.exec*' "
      "bytes: '1KiB' warn: true } }");
  EXPECT_EQ(python_for_guest(spec),
            R"({"policy":"p","preload":["seaborn"],"imports":["import numpy as np"],)"
            R"("code":{"calls":["os.exec*"],"bytes":1024,"warn":1}})");
  EXPECT_EQ(python_for_guest(based("")), "");
  const std::string head = "name: 'p' description: 'p' base: 'b' python { ";
  EXPECT_THAT(fault(head + "imports: 'import os; os.fork()' }"),
              HasSubstr("python.imports[0]: 'import os; os.fork()' is no import statement"));
  EXPECT_THAT(fault(head + "code { refused_calls: '\"' } }"),
              HasSubstr("python.code.refused_calls[0]"));
  EXPECT_THAT(fault(head + "preload: '' }"), HasSubstr("is no name of a module"));
  EXPECT_EQ(based("python { preload: ['scipy.stats', 'Bio'] }").python.preload.size(), 2u);
  EXPECT_THAT(fault(head + "preload: ['scipy', 'seabron.x'] }"),
              AllOf(HasSubstr("python.preload[1]: 'seabron' is no module that can be imported"),
                    HasSubstr("did you mean 'seaborn'?")));
  EXPECT_THAT(fault(head + "preload: 'polars' }"), HasSubstr("those that can: Bio, altair,"));
}

}  // namespace
}  // namespace jailrun
