#include "jail/daemon/metrics.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "jail/sys/fd.h"

namespace jailrun {
namespace {

// Buckets hold all up to their bound, as Prometheus wants them.
void report(const Histogram& histogram, const std::string& policy, const char* kind,
            std::vector<MetricRow>& rows) {
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
    below += histogram.counts[i];
    std::string bound = "+Inf";
    if (i < Histogram::kBounds.size()) {
      char text[32];
      std::snprintf(text, sizeof text, "%g", Histogram::kBounds[i]);
      bound = text;
    }
    rows.push_back({"jaild_start_seconds_bucket", policy, kind, static_cast<double>(below), bound});
  }
  rows.push_back({"jaild_start_seconds_sum", policy, kind, histogram.sum, {}});
  rows.push_back({"jaild_start_seconds_count", policy, kind, static_cast<double>(below), {}});
}

}  // namespace

void Histogram::observe(double seconds) {
  const auto* const bound = std::ranges::lower_bound(kBounds, seconds);
  ++counts[static_cast<std::size_t>(bound - kBounds.begin())];
  sum += seconds;
}

void report(const Counters& counters, std::vector<MetricRow>& rows) {
  const auto add = [&](const char* name, double value, const std::string& policy = {},
                       const std::string& kind = {}) {
    rows.push_back({name, policy, kind, value, {}});
  };
  add("jaild_connections_total", static_cast<double>(counters.connections));
  add("jaild_broken_connections_total", static_cast<double>(counters.broken_connections));
  add("jaild_swept_total", static_cast<double>(counters.swept));
  add("jaild_policy_reloads_total", static_cast<double>(counters.reloads));
  for (const auto& [name, count] : counters.refusals)
    add("jaild_refused_total", static_cast<double>(count), "", name);
  for (const auto& [policy, each] : counters.policies) {
    add("jaild_leases_total", static_cast<double>(each.parked_leases), policy, "parked");
    add("jaild_leases_total", static_cast<double>(each.forked_leases), policy, "forked");
    if (each.parked_leases > 0) report(each.parked_starts, policy, "parked", rows);
    if (each.forked_leases > 0) report(each.forked_starts, policy, "forked", rows);
    add("jaild_queue_seconds_total", each.queue_seconds, policy);
    add("jaild_built_total", static_cast<double>(each.built), policy);
    add("jaild_build_seconds_total", each.build_seconds, policy);
    add("jaild_build_failures_total", static_cast<double>(each.build_failures), policy);
    add("jaild_parked_deaths_total", static_cast<double>(each.parked_deaths), policy);
    add("jaild_worlds_started_total", static_cast<double>(each.worlds_started), policy);
    add("jaild_worlds_failed_total", static_cast<double>(each.worlds_failed), policy);
    add("jaild_import_seconds", each.import_seconds, policy);
    for (const auto& [name, count] : each.verdicts)
      add("jaild_ended_total", static_cast<double>(count), policy, name);
    for (const auto& [name, count] : each.refusals)
      add("jaild_refused_total", static_cast<double>(count), policy, name);
  }
}

HostMemory host_memory() {
  const std::string text = read_file_at(AT_FDCWD, "/proc/meminfo", 4096);
  const auto field = [&](const char* name) -> std::uint64_t {
    const std::size_t at = text.find(name);
    if (at == std::string::npos) return 0;
    return std::strtoull(text.c_str() + at + std::char_traits<char>::length(name), nullptr, 10) *
           1024;
  };
  return {field("MemAvailable:"), field("MemTotal:")};
}

}  // namespace jailrun
