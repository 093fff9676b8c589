// What jaild counts.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace jailrun {

struct MetricRow {
  std::string name, policy, kind;
  double value = 0;
  std::string text;
};

// How long something took, in seconds.
struct Histogram {
  static constexpr std::array kBounds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                         0.025,  0.05,    0.1,    0.25,  1.0,    5.0};
  std::array<std::uint64_t, kBounds.size() + 1> counts{};  // the last: above all bounds
  double sum = 0;
  void observe(double seconds);
};

// Of one policy, since the start of the daemon.
struct PolicyCounters {
  std::uint64_t parked_leases = 0, forked_leases = 0, built = 0, build_failures = 0,
                parked_deaths = 0, worlds_started = 0, worlds_failed = 0;
  double build_seconds = 0, queue_seconds = 0, import_seconds = 0;
  Histogram parked_starts, forked_starts;
  std::map<std::string, std::uint64_t> verdicts;
  std::map<std::string, std::uint64_t> refusals;
};

struct Counters {
  std::map<std::string, PolicyCounters> policies;
  std::map<std::string, std::uint64_t> refusals;  // those of no policy in particular
  std::uint64_t connections = 0, broken_connections = 0, swept = 0, reloads = 0;
  PolicyCounters& of(const std::string& policy) { return policies[policy]; }
};

void report(const Counters& counters, std::vector<MetricRow>& rows);

// MemAvailable and MemTotal of /proc/meminfo, in bytes; 0 where it cannot be read.
struct HostMemory {
  std::uint64_t available = 0, total = 0;
};
HostMemory host_memory();

}  // namespace jailrun
