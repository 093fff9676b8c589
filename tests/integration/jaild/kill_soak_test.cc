// Eight kills; tests/kill_soak takes more.
#include <gtest/gtest.h>

#include "tests/integration/jaild/kill_soak.h"
#include "tests/support/census.h"

namespace jailrun::test {
namespace {

void kill_eight_times() {
  Daemon daemon({"--warm", "python"});
  const KillReport report = kill_at_random(daemon, {.rounds = 8, .seed = 5});
  EXPECT_EQ(report.wrong, 0u) << report.faults;
  EXPECT_EQ(report.left, "");
  EXPECT_GT(report.answered, 8u);
  EXPECT_GT(report.interrupted, 8u);  // the kills have hit something
  EXPECT_LT(report.slowest_word_s, 5);
  EXPECT_LT(report.slowest_end_s, 10);
}

TEST(KilledJaild, HasEveryExecutionToldAsInterruptedAndLeavesNothing) {
  EXPECT_NOTHING_LEFT_BY(kill_eight_times());
}

}  // namespace
}  // namespace jailrun::test
