#include "jail/launch/timeline.h"

#include <gtest/gtest.h>

namespace jailrun {
namespace {

TEST(Timeline, IsMonotonicallyTimed) {
  const std::int64_t first = monotonic_ns();
  EXPECT_GT(first, 0);
  EXPECT_LE(first, monotonic_ns());
}

TEST(Timeline, WithoutStagesIsEmpty) {
  const std::int64_t ends[kStageCount] = {};
  EXPECT_TRUE(make_timeline(100, ends).empty());
}

TEST(Timeline, ListsWhatWasReachedInOrderOfItsEndAndTheDurationsAddUp) {
  std::int64_t ends[kStageCount] = {};
  ends[static_cast<std::size_t>(Stage::OpenImage)] = 110;
  ends[static_cast<std::size_t>(Stage::Attest)] = 170;
  ends[static_cast<std::size_t>(Stage::AwaitAttestation)] =
      180;  // earlier in the list, later in time
  ends[static_cast<std::size_t>(Stage::Clone)] = 150;
  const auto timeline = make_timeline(100, ends);
  ASSERT_EQ(timeline.size(), 4u);
  EXPECT_EQ(timeline[0].stage, Stage::OpenImage);
  EXPECT_EQ(timeline[1].stage, Stage::Clone);
  EXPECT_EQ(timeline[2].stage, Stage::Attest);
  EXPECT_EQ(timeline[3].stage, Stage::AwaitAttestation);
  std::int64_t sum = 0;
  for (const TimelineEntry& entry : timeline) {
    sum += entry.ns;
    EXPECT_EQ(entry.at_ns, sum);
  }
  EXPECT_EQ(sum, 80);
}

TEST(Timeline, KeepsTheListsOrderBetweenStagesThatEndTogether) {
  std::int64_t ends[kStageCount] = {};
  ends[static_cast<std::size_t>(Stage::TakeIds)] = ends[static_cast<std::size_t>(Stage::MapIds)] =
      120;
  const auto timeline = make_timeline(100, ends);
  ASSERT_EQ(timeline.size(), 2u);
  EXPECT_EQ(timeline[0].stage, Stage::MapIds);
  EXPECT_EQ(timeline[1].ns, 0);
}

}  // namespace
}  // namespace jailrun
