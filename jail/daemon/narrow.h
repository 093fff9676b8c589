// What a client may change of an installed policy: fields that the policy lists, to less.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "jail/daemon/refusal.h"
#include "jail/plan/plan.h"
#include "jail/spec/spec.h"

namespace jailrun {

// The `late` fields: they are in force from outside, so a jail that waits can still be given less.
struct LeaseLimits {
  std::uint64_t memory_bytes, pids, cpu_millis, wall_ns, cpu_ns, output_bytes, collect_files,
      collect_bytes;
  bool operator==(const LeaseLimits&) const = default;
};

LeaseLimits limits_of(const Plan& plan);
// Writes them over those of a Plan, so that judging and reporting speak of what was in force.
void apply(const LeaseLimits& limits, Plan& plan);

// `overrides` are PATH=VALUE. Refusals: NotOverridable, NotLate, BadValue, NotNarrower.
std::expected<LeaseLimits, Refusal> narrow(const Spec& spec, const LeaseLimits& from,
                                           const std::vector<std::string>& overrides);

}  // namespace jailrun
