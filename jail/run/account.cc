#include "jail/run/account.h"

#include <sys/vfs.h>

namespace jailrun {
namespace {

// The held mounts outlive the last process: what is full now was full at the end.
std::string full_mount(const HeldMounts& held) {
  for (std::size_t i = 0; i < held.size(); ++i) {
    struct statfs fs{};
    if (::fstatfs(held[i].get(), &fs) == 0 && (fs.f_bfree == 0 || fs.f_ffree == 0))
      return child::kTmpfs[i].path;
  }
  return {};
}

void list_limits(const Plan& plan, const Enforcement& by, bool counted, Result& result) {
  result.limits = {
      {"memory_bytes", static_cast<double>(plan.memory_bytes), by.memory},
      {"pids", static_cast<double>(plan.pids), by.pids},
      {"cpus", plan.cpu_millis / 1000.0, by.cpu},
      {"wall_ns", static_cast<double>(plan.wall_ns), "monotonic timer of the owner"},
      {"cpu_time_ns", static_cast<double>(plan.cpu_ns), counted ? "cgroup v2 cpu.stat" : by.cpu},
      {"output_bytes", static_cast<double>(plan.output_bytes), "the owner's end of the pipes"},
      {"tmp_bytes", static_cast<double>(plan.tmp.bytes), "tmpfs size"},
      {"work_bytes", static_cast<double>(plan.work.bytes), "tmpfs size"},
      {"shm_bytes", static_cast<double>(plan.shm.bytes), "tmpfs size"},
  };
}

}  // namespace

Result account(const Plan& plan, const Cgroup& cgroup, const HeldMounts& held, Evidence& evidence) {
  evidence.cgroup = cgroup.evidence();
  evidence.disk_full = full_mount(held);
  Result result;
  result.policy = plan.policy;
  judge(plan, evidence, result);
  result.wall_ns = evidence.wall_ns;
  result.cpu_ns = evidence.cgroup.cpu_ns;
  result.memory_peak_bytes = evidence.cgroup.memory_peak_bytes;
  result.pids_peak = evidence.cgroup.pids_peak;
  list_limits(plan, cgroup.enforcement(), cgroup.has_leaf(), result);
  return result;
}

}  // namespace jailrun
