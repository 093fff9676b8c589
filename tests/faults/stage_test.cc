// Each Stage, failed once: the Error names it, nothing stays, and the next run works.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "jail/run/run.h"
#include "tests/support/census.h"
#include "tests/support/plans.h"

namespace jailrun {
namespace {

using test::take_census;

// Two stages are of jails made ahead alone: warm_stage_test fails those.
std::vector<Stage> cold_stages() {
  std::vector<Stage> stages = {
#define X(id, name, by, why) Stage::id,
      JAILRUN_STAGES(X)
#undef X
  };
  std::erase(stages, Stage::JoinSlot);
  std::erase(stages, Stage::PreTouch);
  return stages;
}

RunRequest say_hello(Stage fail_at) {
  RunRequest request;
  request.launch.argv = {"/bin/sh", "-c", "echo hello; echo made > file"};
  request.launch.script_name = "unused.py";
  request.launch.inputs = {{"/etc/hostname", "hostname"}};
  request.launch.fail_at = fail_at;
  request.list_files = true;
  return request;
}

class EveryStage : public testing::TestWithParam<Stage> {
 protected:
  static void SetUpTestSuite() {
    plan_ = test::plan_of("exec");
    // What stays on purpose (lock file, null network) is made by the first run.
    RunRequest request = say_hello(Stage::None);
    if (plan_) (void)run(*plan_, request);
  }
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_TRUE(plan_);
  }
  inline static std::unique_ptr<Plan> plan_;
};

TEST_P(EveryStage, ThatFailsIsNamedLeavesNothingBehindAndTheNextRunWorks) {
  RunRequest failing = say_hello(GetParam());
  const auto before = take_census();
  const Expected<Result> failed = run(*plan_, failing);
  EXPECT_EQ(test::left_behind(before, take_census()), "");

  ASSERT_FALSE(failed.has_value()) << "the stage does not honour fail_at";
  EXPECT_EQ(info(failed.error().stage).name, info(GetParam()).name);
  EXPECT_NE(failed.error().object, "");
  EXPECT_EQ(failed.error().errno_value, EIO);
  EXPECT_NE(failed.error().message, "");
  EXPECT_NE(failed.error().remedy, "");

  RunRequest working = say_hello(Stage::None);
  const Expected<Result> worked = run(*plan_, working);
  ASSERT_TRUE(worked.has_value()) << worked.error().line();
  EXPECT_EQ(worked->out, "hello\n");
  EXPECT_EQ(worked->files.size(), 1u);
  EXPECT_EQ(test::left_behind(before, take_census()), "");
}

std::string stage_name(const testing::TestParamInfo<Stage>& stage) {
  return std::string(info(stage.param).name);
}
INSTANTIATE_TEST_SUITE_P(Fault, EveryStage, testing::ValuesIn(cold_stages()), stage_name);

TEST(StageFaults, CoverTheWholeListButTwo) { EXPECT_EQ(cold_stages().size(), kStageCount - 3); }

TEST(StageFaults, TheTimelineOfAWorkingRunHasEveryStageButTheKill) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto plan = test::plan_of("exec");
  ASSERT_TRUE(plan);
  RunRequest request = say_hello(Stage::None);
  const Expected<Result> result = run(*plan, request);
  ASSERT_TRUE(result.has_value()) << result.error().line();
  std::string missing;
  for (const Stage stage : cold_stages()) {
    const auto same = [&](const TimelineEntry& entry) { return entry.stage == stage; };
    if (std::ranges::none_of(result->timeline, same))
      missing += std::string(info(stage).name) + " ";
  }
  EXPECT_EQ(missing, "spawn kill ");  // a spawn ends with the exec; nobody was killed
}

}  // namespace
}  // namespace jailrun
