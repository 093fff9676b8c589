// Timeline: when each Stage ended, in order of time.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "jail/sys/stage.h"

namespace jailrun {

struct TimelineEntry {
  Stage stage;
  std::int64_t at_ns;  // since the launch began
  std::int64_t ns;     // since the entry before; owner and child overlap, so this is no CPU time
};

std::int64_t monotonic_ns();

// From the end times by stage of several processes; a stage that two of them passed comes twice.
std::vector<TimelineEntry> make_timeline(std::int64_t begin_ns,
                                         std::initializer_list<const std::int64_t*> end_ns);

// From the end times by stage (0: not reached), CLOCK_MONOTONIC.
std::vector<TimelineEntry> make_timeline(std::int64_t begin_ns,
                                         const std::int64_t (&end_ns)[kStageCount]);

}  // namespace jailrun
