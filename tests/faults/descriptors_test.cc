// Too few descriptors or processes, at each count: jailrun works or says why not, and nothing
// stays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support/census.h"
#include "tests/support/command.h"

namespace jailrun {
namespace {

using test::jailrun_program;

class FewDescriptors : public testing::TestWithParam<int> {
 protected:
  static void SetUpTestSuite() {
    test::run_command({.argv = {jailrun_program(), "exec", "--", "/bin/true"}});
  }
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  }
  static test::Outcome under(const std::string& limit, const std::vector<std::string>& arguments) {
    std::vector<std::string> argv = {"/bin/sh", "-c", limit + " && exec \"$@\"", "sh",
                                     jailrun_program()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return test::run_command({.argv = argv, .kill_after_ms = 20'000, .kill_signal = 9});
  }
};

void expect_works_or_says_why(const test::Outcome& outcome) {
  if (outcome.status == 0) {
    EXPECT_EQ(outcome.err, "");
    return;
  }
  EXPECT_EQ(outcome.status, 125) << outcome.err;
  EXPECT_THAT(outcome.err,
              testing::MatchesRegex("jailrun: [^\n]+; raise the limit of open files[^\n]*\n"));
}

TEST_P(FewDescriptors, WorkOrAreNamed) {
  const std::string limit = "ulimit -n " + std::to_string(GetParam());
  EXPECT_NOTHING_LEFT_BY(expect_works_or_says_why(under(limit, {"exec", "--", "/bin/true"})));
}

TEST_P(FewDescriptors, WorkOrAreNamedWithAnInputAndFilesToTakeOut) {
  const std::string limit = "ulimit -n " + std::to_string(GetParam());
  EXPECT_NOTHING_LEFT_BY(expect_works_or_says_why(under(
      limit, {"exec", "-f", "/etc/hostname", "--json", "--", "/bin/sh", "-c", "echo a > a"})));
}

INSTANTIATE_TEST_SUITE_P(Fault, FewDescriptors, testing::Range(3, 41));

TEST_F(FewDescriptors, AreEnoughAtForty) {
  EXPECT_EQ(under("ulimit -n 40", {"exec", "--", "/bin/true"}).status, 0);
}

}  // namespace
}  // namespace jailrun
