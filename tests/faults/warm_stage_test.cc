// Each Stage of a jail made ahead, failed once: the Error names it, nothing of it stays, and the
// next jail of the same world works.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>

#include "tests/support/census.h"
#include "tests/support/live.h"
#include "tests/support/plans.h"
#include "tests/support/warm.h"

namespace jailrun {
namespace {

constexpr Stage kStagesOfWarmJails[] = {Stage::LeaseUid,
                                        Stage::MakeCgroup,
                                        Stage::OpenStreams,
                                        Stage::Clone,
                                        Stage::MapIds,
                                        Stage::AttachCgroup,
                                        Stage::AwaitOwner,
                                        Stage::TakeIds,
                                        Stage::DieWithOwner,
                                        Stage::MountRoot,
                                        Stage::MountDev,
                                        Stage::MountTmpfs,
                                        Stage::MountData,
                                        Stage::MountProc,
                                        Stage::PivotRoot,
                                        Stage::SetHostname,
                                        Stage::LimitResources,
                                        Stage::SetAffinity,
                                        Stage::NewCgroupNamespace,
                                        Stage::JoinSlot,
                                        Stage::CloseDescriptors,
                                        Stage::FilterSyscalls,
                                        Stage::PreTouch,
                                        Stage::AwaitAttestation,
                                        Stage::Attest};

// One test, for one world: its zygote takes a second to start.
TEST(WarmStages, OneThatFailsIsNamedLeavesNothingBehindAndTheNextJailWorks) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto plan = test::plan_of("python");
  ASSERT_TRUE(plan);
  const std::unique_ptr<World> world = test::start_world(*plan);
  ASSERT_NE(world, nullptr);
  const auto before = test::take_census();
  for (const Stage stage : kStagesOfWarmJails) {
    SCOPED_TRACE(info(stage).name);
    const Expected<std::unique_ptr<WarmJail>> failed = test::park(*world, stage);
    ASSERT_FALSE(failed.has_value()) << "the stage does not honour fail_at";
    EXPECT_EQ(info(failed.error().stage).name, info(stage).name);
    EXPECT_EQ(failed.error().errno_value, EIO);
    EXPECT_NE(failed.error().remedy, "");
    EXPECT_EQ(test::left_for_good(before), "");

    Expected<std::unique_ptr<WarmJail>> worked = test::park(*world);
    ASSERT_TRUE(worked.has_value()) << worked.error().line();
    const test::WarmRun run = test::run_in(*world, **worked, "print('hello')");
    EXPECT_EQ(run.out, "hello\n");
    EXPECT_EQ(run.err, "");
    EXPECT_EQ(run.result.verdict, Verdict::Ok);
    worked->reset();
    EXPECT_EQ(test::left_for_good(before), "");
  }
}

}  // namespace
}  // namespace jailrun
