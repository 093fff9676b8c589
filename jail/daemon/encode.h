// From values to messages of jaild.proto.
#pragma once

#include <string>
#include <vector>

#include "jail/daemon/jaild.pb.h"
#include "jail/daemon/metrics.h"
#include "jail/daemon/refusal.h"
#include "jail/run/result.h"

namespace jailrun {

daemon::FromDaemon encode(const Refusal& refusal, std::uint64_t request);
daemon::FromDaemon encode(const Result& result, std::uint64_t lease, std::uint64_t work_device);
daemon::FromDaemon encode(const std::vector<MetricRow>& rows, std::uint64_t request);
void encode(const std::vector<TimelineEntry>& timeline,
            google::protobuf::RepeatedPtrField<daemon::Timing>& into);

}  // namespace jailrun
