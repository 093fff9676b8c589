// On kernels that lack a feature: refused with an Error that names it, or with less and said so.
// Each row of DESIGN.md's kernel table is here; where jails run without, the confinement tests run
// too.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "tests/support/census.h"
#include "tests/support/live.h"
#include "tests/without/features.h"

namespace jailrun::test {
namespace {

struct Refused {
  const char* feature;
  const char* stage;
  const char* named;  // in the message
  const char* remedy;
};

void PrintTo(const Refused& refused, std::ostream* out) { *out << refused.feature; }

constexpr Refused kRefused[] = {
    {"user_namespaces", "clone", "more namespaces", "user.max_user_namespaces"},
    {"seccomp", "filter_syscalls", "seccomp filters", "kernel 6.1 or newer"},
    {"open_tree", "mount_root", "open_tree", "kernel 6.1 or newer"},
    {"fsopen", "mount_tmpfs", "fsopen", "kernel 6.1 or newer"},
    {"clone3", "clone", "clone3", "kernel 6.1 or newer"},
    {"openat2", "collect", "openat2", "jailrun doctor"},
    {"clone_into_cgroup", "clone", "CLONE_INTO_CGROUP", "kernel 6.1 or newer"},
    {"proc_subset", "mount_proc", "subset=pid", "kernel 6.1 or newer"},
    {"close_range", "close_descriptors", "close_range", "kernel 6.1 or newer"},
    {"mount_setattr", "mount_root", "mount_setattr", "kernel 6.1 or newer"},
};

constexpr const char* kWithLess[] = {"pidfd_send_signal", "cgroup_kill", "landlock",
                                     "landlock_scopes", "idmap"};

// JAILRUN_DISABLE_FEATURE for as long as it lives.
class Without {
 public:
  explicit Without(const std::string& features) {
    ::setenv("JAILRUN_DISABLE_FEATURE", features.c_str(), 1);
  }
  ~Without() { ::unsetenv("JAILRUN_DISABLE_FEATURE"); }
  Without(const Without&) = delete;
  Without& operator=(const Without&) = delete;
};

const std::vector<std::string> kRun = {"exec", "--json", "--", "/bin/sh", "-c", "echo ran >file"};

class Lacking : public testing::TestWithParam<Refused> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  }
};

TEST_P(Lacking, IsRefusedByNameWithARemedyAndNothingIsLeft) {
  ASSERT_EQ(jailrun(kRun).status, 0) << "the twin: here it runs";
  const auto before = take_census();
  Outcome outcome;
  {
    const Without feature(GetParam().feature);
    outcome = jailrun(kRun);
  }
  EXPECT_EQ(outcome.status, 125) << outcome.out;
  EXPECT_THAT(outcome.out, testing::HasSubstr(std::string("\"stage\":\"") + GetParam().stage));
  EXPECT_THAT(outcome.err, testing::AllOf(testing::HasSubstr(GetParam().named),
                                          testing::HasSubstr(GetParam().remedy)));
  EXPECT_EQ(left_for_good(before), "");
}

INSTANTIATE_TEST_SUITE_P(Feature, Lacking, testing::ValuesIn(kRefused),
                         [](const auto& row) { return std::string(row.param.feature); });

TEST(KernelTable, NamesEveryFeatureAndEachIsTakenAwayHere) {
  std::ifstream design(JAILRUN_SOURCE_DIR "/DESIGN.md");
  std::set<std::string> refused, with_less, known;
  bool inside = false;
  for (std::string line; std::getline(design, line);) {
    if (line.starts_with("## ")) inside = line == "## Kernel table";
    const std::size_t begin = line.rfind(" | `"), end = line.rfind("` |");
    if (!inside || begin == std::string::npos || end == std::string::npos) continue;
    const std::string name = line.substr(begin + 4, end - begin - 4);
    (line.find("| Error") != std::string::npos ? refused : with_less).insert(name);
  }
  std::set<std::string> here, less(std::begin(kWithLess), std::end(kWithLess));
  for (const Refused& each : kRefused) here.insert(each.feature);
  for (const without::Feature* each = without::kFeatures; each->name != nullptr; ++each)
    known.insert(each->name);
  EXPECT_EQ(refused, here);
  EXPECT_EQ(with_less, less);
  refused.merge(with_less);
  EXPECT_EQ(refused, known);
}

TEST(KernelTable, WithoutIdMappedMountsAPrivateInputIsCopiedAndTheResultSaysSo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string path = testing::TempDir() + "/jailrun-private-" + std::to_string(::getpid());
  std::ofstream(path) << "secret";
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  const std::vector<std::string> cat = {"exec", "--file",   path + ":input",
                                        "--",   "/bin/cat", "/data/input"};
  EXPECT_EQ(jailrun(cat).err, "") << "the twin: no copy";
  {
    const Without feature("idmap");
    const Outcome outcome = jailrun(cat);
    EXPECT_EQ(outcome.out, "secret");
    EXPECT_THAT(outcome.err, testing::HasSubstr("input input was copied"));
  }
  ::unlink(path.c_str());
}

// Both mechanisms that end a jail at once are gone: its deadline holds all the same.
TEST(KernelTable, WithoutCgroupKillATreeThatIgnoresSignalsEndsInTime) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto before = take_census();
  {
    const Without features("cgroup_kill,pidfd_send_signal");
    const Outcome outcome = jailrun(
        {"exec", "--timeout", "300ms", "--", "/bin/sh", "-c",
         "trap '' TERM HUP INT; for i in 1 2 3 4 5; do (while :; do :; done) & done; wait"});
    EXPECT_EQ(outcome.status, 124) << outcome.err;
  }
  EXPECT_EQ(left_for_good(before), "");
}

}  // namespace
}  // namespace jailrun::test
