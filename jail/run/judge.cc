#include "jail/run/judge.h"

#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>

#include "jail/sys/units.h"

namespace jailrun {
namespace {

constexpr std::array<std::string_view, 11> kNames = {"cancelled",
                                                     "policy_violation",
                                                     "out_of_memory",
                                                     "wall_timeout",
                                                     "cpu_timeout",
                                                     "output_limit",
                                                     "pids_limit",
                                                     "disk_limit",
                                                     "signalled",
                                                     "nonzero_exit",
                                                     "ok"};

bool signalled(const Evidence& e) { return e.guest_ended && WIFSIGNALED(e.wait_status); }
bool exited_zero(const Evidence& e) {
  return e.guest_ended && WIFEXITED(e.wait_status) && WEXITSTATUS(e.wait_status) == 0;
}
// v1 announces an out-of-memory before it kills, and the owner's kill may come first: then nothing
// is counted. An event alone may be an outer group's, which v1 reports below as well: so the jail
// itself must have been near its limit (an eighth below, for what was asked for in one piece and
// refused).
bool out_of_memory(const Plan& plan, const Evidence& e) {
  const bool near = e.cgroup.memory_peak_bytes.value_or(0) >= plan.memory_bytes / 8 * 7;
  return e.cgroup.oom_kills > 0 || (e.oom_event && near);
}

Verdict verdict_of(const Plan& plan, const Evidence& e) {
  if (!e.cancelled.empty()) return Verdict::Cancelled;
  if (signalled(e) && WTERMSIG(e.wait_status) == SIGSYS) return Verdict::PolicyViolation;
  if (out_of_memory(plan, e)) return Verdict::OutOfMemory;
  if (e.wall_expired) return Verdict::WallTimeout;
  if (e.cpu_expired) return Verdict::CpuTimeout;
  if (!e.output_exceeded.empty()) return Verdict::OutputLimit;
  if (exited_zero(e)) return Verdict::Ok;
  // A limit that only refuses is the verdict where the run did not get over it.
  if (e.cgroup.pids_refused > 0) return Verdict::PidsLimit;
  if (!e.disk_full.empty()) return Verdict::DiskLimit;
  return signalled(e) || !e.guest_ended ? Verdict::Signalled : Verdict::NonzeroExit;
}

// The table of exit statuses.
int status_of(Verdict verdict, const Evidence& e) {
  switch (verdict) {
    case Verdict::Cancelled:
      return 130;
    case Verdict::PolicyViolation:
      return 159;
    case Verdict::OutOfMemory:
      return 137;
    case Verdict::WallTimeout:
    case Verdict::CpuTimeout:
      return 124;
    case Verdict::OutputLimit:
    case Verdict::DiskLimit:
      return 153;
    default:
      break;
  }
  if (!e.guest_ended) return 128 + SIGKILL;
  return WIFSIGNALED(e.wait_status) ? 128 + WTERMSIG(e.wait_status) : WEXITSTATUS(e.wait_status);
}

std::string output_reason(std::uint64_t bytes, const std::string& stream) {
  return "output limit of " + format_bytes(bytes) + " on " + stream +
         " hit; print less, write files to /work, or raise limits.output";
}

std::string reason_of(const Plan& plan, Verdict verdict, const Evidence& e) {
  switch (verdict) {
    case Verdict::Cancelled:
      return "cancelled: " + e.cancelled;
    case Verdict::PolicyViolation:
      return std::string("killed for a system call on the red list of policy ") + plan.policy +
             "; `jailrun explain " + plan.policy + "` lists it";
    case Verdict::OutOfMemory:
      if (e.cgroup.oom_outside) {
        return "memory ran out around the jail, below its own limit of " +
               format_bytes(plan.memory_bytes) +
               ": raise what the cgroups above it or the host have, or lower limits.memory";
      }
      return "memory limit of " + format_bytes(plan.memory_bytes) +
             " hit; use less (fewer columns, chunks, duckdb on the file) or raise limits.memory";
    case Verdict::WallTimeout:
      return "wall time limit of " + format_duration(plan.wall_ns) +
             " hit; do less, or raise --timeout";
    case Verdict::CpuTimeout:
      return "CPU time limit of " + format_duration(plan.cpu_ns) +
             " hit; do less, or raise limits.cpu_time";
    case Verdict::OutputLimit:
      return output_reason(plan.output_bytes, e.output_exceeded);
    case Verdict::PidsLimit:
      return "limit of " + std::to_string(plan.pids) + " processes hit " +
             std::to_string(e.cgroup.pids_refused) + " times; start fewer, or raise limits.pids";
    case Verdict::DiskLimit:
      return e.disk_full + " is full; write less, or raise files." +
             (e.disk_full == "/work"  ? "work"
              : e.disk_full == "/tmp" ? "tmp"
                                      : "shm");
    case Verdict::Signalled:
      return "killed by " + signal_name(e.guest_ended ? WTERMSIG(e.wait_status) : SIGKILL);
    case Verdict::NonzeroExit:
      return "exit status " + std::to_string(WEXITSTATUS(e.wait_status));
    case Verdict::Ok:
      return "ok";
  }
  return {};
}

void list_evidence(const Evidence& e, Result& result) {
  auto& out = result.evidence;
  if (e.guest_ended) {
    out.emplace_back("wait_status",
                     static_cast<std::uint64_t>(static_cast<unsigned>(e.wait_status)));
  } else {
    out.emplace_back("killed_by_owner", e.killed_by_owner);
  }
  if (!e.cancelled.empty()) out.emplace_back("cancelled", e.cancelled);
  if (e.wall_expired) out.emplace_back("wall_timer_ns", e.wall_ns);
  if (e.cpu_expired)
    out.emplace_back(e.cgroup.cpu_source + " usage_ns", e.cgroup.cpu_ns.value_or(0));
  if (!e.output_exceeded.empty()) out.emplace_back("output_exceeded", e.output_exceeded);
  if (!e.cgroup.memory_source.empty())
    out.emplace_back(e.cgroup.memory_source + " oom_kill", e.cgroup.oom_kills);
  if (e.cgroup.oom_outside) out.emplace_back(e.cgroup.memory_source + " oom", std::uint64_t{0});
  if (e.oom_event) {
    out.emplace_back("memory.oom_control event", true);
    out.emplace_back("memory.max_usage_in_bytes", e.cgroup.memory_peak_bytes.value_or(0));
  }
  if (!e.cgroup.pids_source.empty())
    out.emplace_back(e.cgroup.pids_source + " max", e.cgroup.pids_refused);
  if (!e.disk_full.empty()) out.emplace_back("statfs full", e.disk_full);
  if (e.orphans_sigsys > 0)
    out.emplace_back("orphans killed by SIGSYS", std::uint64_t{e.orphans_sigsys});
}

}  // namespace

std::string_view name(Verdict verdict) { return kNames[static_cast<std::size_t>(verdict)]; }

std::string signal_name(int signal) {
  const char* abbreviation = ::sigabbrev_np(signal);
  return abbreviation != nullptr ? std::string("SIG") + abbreviation
                                 : "SIG" + std::to_string(signal);
}

void judge(const Plan& plan, const Evidence& e, Result& result) {
  result.verdict = verdict_of(plan, e);
  result.status = status_of(result.verdict, e);
  result.reason = reason_of(plan, result.verdict, e);
  if (e.guest_ended && WIFEXITED(e.wait_status)) result.exit_code = WEXITSTATUS(e.wait_status);
  if (signalled(e)) result.signal = WTERMSIG(e.wait_status);
  if (!e.guest_ended) result.signal = SIGKILL;
  list_evidence(e, result);
  if (out_of_memory(plan, e) && !e.cgroup.oom_outside) result.limits_hit.push_back("memory");
  if (e.cgroup.pids_refused > 0) result.limits_hit.push_back("pids");
  if (!e.output_exceeded.empty()) result.limits_hit.push_back("output");
  if (!e.disk_full.empty()) result.limits_hit.push_back("disk");
  if (e.wall_expired) result.limits_hit.push_back("wall");
  if (e.cpu_expired) result.limits_hit.push_back("cpu_time");
}

void judge_output(const std::string& stream, std::uint64_t output_bytes, Result& result) {
  const bool known = std::find(result.limits_hit.begin(), result.limits_hit.end(), "output") !=
                     result.limits_hit.end();
  if (known || result.verdict <= Verdict::OutputLimit) return;
  Evidence evidence;
  evidence.output_exceeded = stream;
  result.verdict = Verdict::OutputLimit;
  result.status = status_of(result.verdict, evidence);
  result.reason = output_reason(output_bytes, stream);
  result.evidence.emplace_back("output_exceeded", stream);
  result.limits_hit.push_back("output");
}

void judge_cancelled(const std::string& why, Result& result) {
  if (result.verdict <= Verdict::Cancelled) return;
  Evidence evidence;
  evidence.cancelled = why;
  result.verdict = Verdict::Cancelled;
  result.status = status_of(result.verdict, evidence);
  result.reason = "cancelled: " + why;
  result.evidence.emplace_back("cancelled", why);
}

}  // namespace jailrun
