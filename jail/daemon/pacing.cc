#include "jail/daemon/pacing.h"

#include <algorithm>
#include <cmath>

namespace jailrun {
namespace {

// An arrival counts for about this long.
constexpr double kMemorySeconds = 2;
// Enough for a burst that comes while this many are built one after the other.
constexpr double kBuildsCovered = 8;
constexpr std::int64_t kQuietNs = 3'000'000;

}  // namespace

void Pacing::arrived(std::int64_t now_ns) {
  rate_ = arrivals_per_second(now_ns) + 1 / kMemorySeconds;
  last_ns_ = now_ns;
}

void Pacing::built(std::int64_t took_ns) {
  build_ns_ += (static_cast<double>(took_ns) - build_ns_) / 8;
}

double Pacing::arrivals_per_second(std::int64_t now_ns) const {
  const double seconds = static_cast<double>(now_ns - last_ns_) / 1e9;
  return rate_ * std::exp(-seconds / kMemorySeconds);
}

std::uint32_t Pacing::target(std::int64_t now_ns) const {
  if (on_demand_) return 0;
  const double rate = arrivals_per_second(now_ns);
  const double more = rate < 0.05 ? 0 : std::ceil(rate * build_ns_ / 1e9 * kBuildsCovered);
  const auto wanted = plan_.min + static_cast<std::uint32_t>(std::min(more, 1e6));
  return std::clamp(wanted, plan_.min, std::max(plan_.min, plan_.max));
}

std::int64_t Pacing::quiet_ns(std::uint32_t parked, std::int64_t now_ns) const {
  // Behind by half there is no leisure left.
  if (parked * 2 < target(now_ns)) return 0;
  return std::max<std::int64_t>(kQuietNs - (now_ns - last_ns_), 0);
}

std::int64_t backoff_ns(std::uint32_t failures, std::int64_t first_ns, std::int64_t most_ns) {
  if (failures == 0) return 0;
  const std::uint32_t doublings = std::min(failures - 1, 30u);
  return std::min(first_ns << doublings, most_ns);
}

}  // namespace jailrun
