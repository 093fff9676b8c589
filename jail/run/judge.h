// From evidence to verdict: a pure function, tested as a table.
#pragma once

#include <string>

#include "jail/confine/cgroup.h"
#include "jail/plan/plan.h"
#include "jail/run/result.h"

namespace jailrun {

// Everything that a verdict may rest on. Nothing in it is the guest's own word.
struct Evidence {
  std::string cancelled;        // why, or empty
  bool wall_expired = false;    // our timer
  bool cpu_expired = false;     // cgroup cpu.stat above the limit
  std::string output_exceeded;  // "stdout" or "stderr"
  bool oom_event = false;       // eventfd of memory.oom_control
  std::string disk_full;        // mount whose statfs shows no free block or inode: "/work"
  bool killed_by_owner = false;
  bool guest_ended = false;  // its first process ended before we killed the jail
  int wait_status = 0;       // then
  std::uint32_t orphans_sigsys = 0;
  CgroupEvidence cgroup;
  std::uint64_t wall_ns = 0;
};

// Fills verdict, reason, status, exit_code, signal, evidence and limits_hit.
void judge(const Plan& plan, const Evidence& evidence, Result& result);

// For one who alone has seen the streams, after the judgement: `stream` was longer than the limit.
// Changes the verdict only where output_limit precedes it.
void judge_output(const std::string& stream, std::uint64_t output_bytes, Result& result);
// The same for a stream that could not be read or passed on to its end: what is lost is told.
void judge_cancelled(const std::string& why, Result& result);

}  // namespace jailrun
