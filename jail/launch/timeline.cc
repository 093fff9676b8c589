#include "jail/launch/timeline.h"

#include <algorithm>
#include <ctime>

namespace jailrun {

std::int64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

std::vector<TimelineEntry> make_timeline(std::int64_t begin_ns,
                                         std::initializer_list<const std::int64_t*> end_ns) {
  std::vector<TimelineEntry> entries;
  for (const std::int64_t* ends : end_ns) {
    for (std::size_t i = 0; i < kStageCount; ++i) {
      if (ends[i] != 0) entries.push_back({static_cast<Stage>(i), ends[i] - begin_ns, 0});
    }
  }
  std::ranges::stable_sort(entries, {}, &TimelineEntry::at_ns);
  std::int64_t before = 0;
  for (TimelineEntry& entry : entries) {
    entry.ns = entry.at_ns - before;
    before = entry.at_ns;
  }
  return entries;
}

std::vector<TimelineEntry> make_timeline(std::int64_t begin_ns,
                                         const std::int64_t (&end_ns)[kStageCount]) {
  return make_timeline(begin_ns, {end_ns});
}

}  // namespace jailrun
