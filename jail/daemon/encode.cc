#include "jail/daemon/encode.h"

namespace jailrun {
namespace {

struct SetEvidence {
  daemon::EvidenceEntry& entry;
  void operator()(std::nullptr_t) const {}
  void operator()(bool value) const { entry.set_flag(value); }
  void operator()(std::uint64_t value) const { entry.set_number(value); }
  void operator()(const std::string& value) const { entry.set_text(value); }
};

}  // namespace

daemon::FromDaemon encode(const Refusal& refusal, std::uint64_t request) {
  daemon::FromDaemon out;
  daemon::Refused& refused = *out.mutable_refused();
  refused.set_request(request);
  refused.set_name(refusal.name);
  refused.set_message(refusal.message);
  refused.set_remedy(refusal.remedy);
  return out;
}

void encode(const std::vector<TimelineEntry>& timeline,
            google::protobuf::RepeatedPtrField<daemon::Timing>& into) {
  for (const TimelineEntry& entry : timeline) {
    daemon::Timing& timing = *into.Add();
    timing.set_stage(std::string(info(entry.stage).name));
    timing.set_at_ns(entry.at_ns);
    timing.set_ns(entry.ns);
  }
}

daemon::FromDaemon encode(const Result& result, std::uint64_t lease, std::uint64_t work_device) {
  daemon::FromDaemon out;
  daemon::Ended& ended = *out.mutable_ended();
  ended.set_lease(lease);
  ended.set_verdict(std::string(name(result.verdict)));
  ended.set_reason(result.reason);
  for (const auto& [name, value] : result.evidence) {
    daemon::EvidenceEntry& entry = *ended.add_evidence();
    entry.set_name(name);
    std::visit(SetEvidence{entry}, value);
  }
  ended.set_status(result.status);
  if (result.exit_code) ended.set_exit_code(*result.exit_code);
  if (result.signal) ended.set_signal(*result.signal);
  ended.set_wall_ns(result.wall_ns);
  if (result.cpu_ns) ended.set_cpu_ns(*result.cpu_ns);
  if (result.memory_peak_bytes) ended.set_memory_peak_bytes(*result.memory_peak_bytes);
  if (result.pids_peak) ended.set_pids_peak(*result.pids_peak);
  encode(result.timeline, *ended.mutable_timeline());
  for (const EnforcedLimit& limit : result.limits) {
    daemon::LimitEntry& entry = *ended.add_limits();
    entry.set_name(limit.name);
    entry.set_value(limit.value);
    entry.set_enforced_by(limit.enforced_by);
  }
  for (const std::string& hit : result.limits_hit) ended.add_limits_hit(hit);
  for (const std::string& warning : result.warnings) ended.add_warnings(warning);
  ended.set_work_device(work_device);
  return out;
}

daemon::FromDaemon encode(const std::vector<MetricRow>& rows, std::uint64_t request) {
  daemon::FromDaemon out;
  daemon::Stats& stats = *out.mutable_stats();
  stats.set_request(request);
  for (const MetricRow& row : rows) {
    daemon::Metric& metric = *stats.add_metrics();
    metric.set_name(row.name);
    metric.set_policy(row.policy);
    metric.set_kind(row.kind);
    metric.set_value(row.value);
    metric.set_text(row.text);
  }
  return out;
}

}  // namespace jailrun
