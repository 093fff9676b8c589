// A memory limit below what set-up itself needs: set-up dies, by itself or by the kernel's hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "jail/run/run.h"
#include "tests/support/census.h"
#include "tests/support/plans.h"

namespace jailrun {
namespace {

class TinyMemory : public testing::TestWithParam<std::uint64_t> {};

TEST_P(TinyMemory, EndsTheRunNamesTheLimitAndLeavesNothing) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto plan = test::plan_of("exec");
  ASSERT_TRUE(plan);
  RunRequest first;
  first.launch.argv = {"/bin/true"};
  ASSERT_TRUE(run(*plan, first).has_value());

  plan->memory_bytes = GetParam();
  RunRequest request;
  request.launch.argv = {"/bin/true"};
  request.launch.script_name = "blob";
  request.launch.script = std::string(1 << 20, 'x');
  const auto before = test::take_census();
  const Expected<Result> result = run(*plan, request);
  EXPECT_EQ(test::left_behind(before, test::take_census()), "");
  if (result) {
    // Set-up fitted, the guest did not.
    EXPECT_EQ(result->verdict, Verdict::OutOfMemory) << result->reason;
  } else {
    EXPECT_NE(result.error().stage, Stage::None);
    EXPECT_THAT(result.error().line(), testing::HasSubstr("memory"));
  }
}

INSTANTIATE_TEST_SUITE_P(Fault, TinyMemory,
                         testing::Values(0, 4096, 65536, 131072, 262144, 524288, 1048576),
                         [](const auto& bytes) { return "Bytes" + std::to_string(bytes.param); });

}  // namespace
}  // namespace jailrun
