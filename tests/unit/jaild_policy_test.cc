// What jaild decides without a jail: narrowing, turns in the queue, how many jails to keep.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "jail/daemon/fair_queue.h"
#include "jail/daemon/narrow.h"
#include "jail/daemon/pacing.h"

namespace jailrun {
namespace {

using testing::HasSubstr;

constexpr std::int64_t kSecondNs = 1'000'000'000;

class Narrowing : public testing::Test {
 protected:
  Narrowing() {
    spec_.name = "python";
    spec_.overridable = {"limits.memory", "limits.wall", "limits.cpus", "limits.cpu_time",
                         "files.tmp"};
  }
  std::string refused(const std::vector<std::string>& overrides) {
    const auto result = narrow(spec_, limits_, overrides);
    return result ? "" : result.error().name;
  }
  LeaseLimits narrowed(const std::vector<std::string>& overrides) {
    return narrow(spec_, limits_, overrides).value();
  }
  Spec spec_;
  LeaseLimits limits_{512 << 20, 64, 1000, 60'000'000'000, 60'000'000'000, 1 << 20, 1000, 1 << 28};
};

TEST_F(Narrowing, TakesLessOfWhatThePolicyLists) {
  EXPECT_EQ(narrowed({}), limits_);
  EXPECT_EQ(narrowed({"limits.memory=64MiB"}).memory_bytes, 64u << 20);
  EXPECT_EQ(narrowed({"limits.memory=512MiB"}), limits_);
  EXPECT_EQ(narrowed({"limits.cpus=0.25"}).cpu_millis, 250u);
}

TEST_F(Narrowing, NeverWidens) {
  EXPECT_EQ(refused({"limits.memory=513MiB"}), "NotNarrower");
  EXPECT_EQ(refused({"limits.wall=60.001s"}), "NotNarrower");
  EXPECT_EQ(refused({"limits.memory=64MiB", "limits.memory=513MiB"}), "NotNarrower");
}

TEST_F(Narrowing, RaisesTheWallLimitAsFarAsThePolicySays) {
  spec_.limits.wall_most_ns = 300 * kSecond;
  EXPECT_EQ(narrowed({"limits.wall=5m"}).wall_ns, 300 * kSecond);
  EXPECT_EQ(narrowed({"limits.wall=5m"}).cpu_ns, 300 * kSecond);
  EXPECT_EQ(refused({"limits.wall=301s"}), "NotNarrower");
}

TEST_F(Narrowing, RefusesFieldsThatAreNotListed) {
  EXPECT_EQ(refused({"limits.pids=3"}), "NotOverridable");
  EXPECT_EQ(refused({"network.mode=LOOPBACK"}), "NotOverridable");
  EXPECT_EQ(refused({"pool.max=500"}), "NotOverridable");
  EXPECT_EQ(refused({"limits=1"}), "NotOverridable");
  EXPECT_EQ(refused({""}), "NotOverridable");
}

TEST_F(Narrowing, RefusesWhatAParkedJailCannotChange) {
  EXPECT_EQ(refused({"files.tmp=1MiB"}), "NotLate");
  EXPECT_THAT(narrow(spec_, limits_, {"files.tmp=1MiB"}).error().remedy, HasSubstr("--cold"));
}

TEST_F(Narrowing, RefusesValuesThatAreNone) {
  for (const char* value : {"limits.memory", "limits.memory=", "limits.memory=1", "limits.memory=x",
                            "limits.memory=1MiB", "limits.cpus=nan", "limits.cpus=-1",
                            "limits.cpus=0", "limits.wall=0s", "limits.wall=1us"})
    EXPECT_EQ(refused({value}), "BadValue") << value;
}

TEST_F(Narrowing, LetsCpuTimeFollowWallUnlessItIsSet) {
  EXPECT_EQ(narrowed({"limits.wall=2s"}).cpu_ns, 2'000'000'000u);
  EXPECT_EQ(narrowed({"limits.wall=2s", "limits.cpu_time=1s"}).cpu_ns, 1'000'000'000u);
  limits_.cpu_ns = 5'000'000'000;
  EXPECT_EQ(narrowed({"limits.wall=20s"}).cpu_ns, 5'000'000'000u);
}

std::string drained(FairQueue<std::string>& queue) {
  std::string all;
  while (auto item = queue.pop()) all += *item;
  return all;
}

TEST(FairQueue, TakesTurnsBetweenOwners) {
  FairQueue<std::string> queue(10);
  for (const char* item : {"a", "b", "c", "d"}) queue.push({1, ""}, item);
  queue.push({2, ""}, "X");
  queue.push({1, "other"}, "Y");
  EXPECT_EQ(drained(queue), "aXYbcd");
}

TEST(FairQueue, WhenFullTheGreediestLosesItsLast) {
  FairQueue<std::string> queue(3);
  for (const char* item : {"a", "b", "c"}) EXPECT_FALSE(queue.push({1, ""}, item));
  EXPECT_EQ(queue.push({1, ""}, "d"), "d");
  EXPECT_EQ(queue.push({2, ""}, "X"), "c");
  EXPECT_EQ(queue.size(), 3u);
  EXPECT_EQ(drained(queue), "aXb");
}

TEST(FairQueue, ForgetsWhoIsGone) {
  FairQueue<std::string> queue(10);
  for (const char* item : {"a", "b", "c"}) queue.push({1, ""}, item);
  std::string taken;
  queue.take([](const std::string& item) { return item != "b"; },
             [&](std::string item) { taken += item; });
  EXPECT_EQ(taken, "ac");
  EXPECT_EQ(queue.size(), 1u);
  EXPECT_EQ(drained(queue), "b");
  EXPECT_TRUE(queue.empty());
}

TEST(Pacing, KeepsTheLeastWhenNobodyAsks) {
  EXPECT_EQ(Pacing({4, 64, 1, 1, false}).target(99 * kSecondNs), 4u);
  EXPECT_EQ(Pacing({4, 64, 1, 1, false}, true).target(99 * kSecondNs), 0u) << "on demand";
  EXPECT_EQ(Pacing({0, 64, 1, 1, false}).target(99 * kSecondNs), 0u);
}

TEST(Pacing, FollowsTheRateUpToTheMostAndForgetsIt) {
  Pacing pacing({4, 64, 1, 1, false});
  std::int64_t now = kSecondNs;
  for (int i = 0; i < 400; ++i) pacing.arrived(now += kSecondNs / 100);
  EXPECT_NEAR(pacing.arrivals_per_second(now), 100, 20);
  const std::uint32_t busy = pacing.target(now);
  EXPECT_GT(busy, 8u);
  EXPECT_LE(busy, 64u);
  for (int i = 0; i < 4000; ++i) pacing.arrived(now += kSecondNs / 10000);
  EXPECT_EQ(pacing.target(now), 64u);
  EXPECT_EQ(pacing.target(now + 60 * kSecondNs), 4u);
}

TEST(Pacing, LeavesTheRequestAloneThatHasJustBegunUnlessItIsBehind) {
  Pacing pacing({4, 64, 1, 1, false});
  pacing.arrived(kSecondNs);
  EXPECT_GT(pacing.quiet_ns(4, kSecondNs), 0);
  EXPECT_EQ(pacing.quiet_ns(1, kSecondNs), 0);
  EXPECT_EQ(pacing.quiet_ns(4, 2 * kSecondNs), 0);
}

TEST(Backoff, DoublesAndEnds) {
  EXPECT_EQ(backoff_ns(0, 10, 1000), 0);
  EXPECT_EQ(backoff_ns(1, 10, 1000), 10);
  EXPECT_EQ(backoff_ns(3, 10, 1000), 40);
  EXPECT_EQ(backoff_ns(4'000'000'000, 10, 1000), 1000);
}

}  // namespace
}  // namespace jailrun
