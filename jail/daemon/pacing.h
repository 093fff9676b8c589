// Pacing: how many jails to keep, and when to make the next. Pure; time is given.
#pragma once

#include <cstdint>

#include "jail/plan/plan.h"

namespace jailrun {

class Pacing {
 public:
  // `on_demand`: nothing waits.
  explicit Pacing(const PoolPlan& plan, bool on_demand = false)
      : plan_(plan), on_demand_(on_demand) {}

  void arrived(std::int64_t now_ns);
  void built(std::int64_t took_ns);
  void set_plan(const PoolPlan& plan) { plan_ = plan; }

  double arrivals_per_second(std::int64_t now_ns) const;
  // Jails that should wait: min when nobody asks; else what comes in while a few are built, up to
  // max.
  std::uint32_t target(std::int64_t now_ns) const;
  // How long to leave the CPU to the request that has just begun before one is made for later.
  std::int64_t quiet_ns(std::uint32_t parked, std::int64_t now_ns) const;
  bool idle_for(std::int64_t ns, std::int64_t now_ns) const { return now_ns - last_ns_ >= ns; }

 private:
  PoolPlan plan_;
  bool on_demand_;
  double rate_ = 0;  // arrivals per second, decaying
  double build_ns_ = 10e6;
  std::int64_t last_ns_ = 0;
};

// Doubling from `first_ns` to `most_ns`.
std::int64_t backoff_ns(std::uint32_t failures, std::int64_t first_ns, std::int64_t most_ns);

}  // namespace jailrun
