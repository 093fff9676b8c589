// Jail: one live confined process tree made from a Plan.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "jail/child/child.h"
#include "jail/confine/cgroup.h"
#include "jail/confine/ids.h"
#include "jail/confine/inputs.h"
#include "jail/launch/parts.h"
#include "jail/launch/timeline.h"
#include "jail/plan/plan.h"

namespace jailrun {

struct LaunchRequest {
  std::vector<std::string> argv;  // argv[0] is looked for in the guest's PATH if it has no '/'
  std::vector<InputSource> inputs;
  std::vector<std::string> packages;  // names of layers, for /packages
  // Where not empty, a copy of `script` lies at /run/SCRIPT_NAME, read-only.
  std::string script_name, script;
  bool wants_stdin = false;  // a pipe; otherwise the guest's stdin is empty

  // The caller's argv and environment block, wiped in the jail's init; may be null.
  char* wipe_begin = nullptr;
  char* wipe_end = nullptr;
  // Sets lo up in a network namespace of the jail's own (NetworkMode::Loopback), called with init's
  // pid; null where this program cannot, then such a Plan is refused.
  Expected<void> (*bring_up_loopback)(pid_t init) = nullptr;
  // Called when the guest has passed its attestation and waits at its last gate, with its pid: for
  // who wants to look on (jail/trace). Its Error ends the launch.
  std::function<Expected<void>(pid_t guest)> at_gate = nullptr;
  // Fault tests: fail this stage once. None otherwise.
  Stage fail_at = Stage::None;
};

class Jail {
 public:
  // Builds the jail and starts the guest. When it returns a Jail, exec has succeeded and the
  // attestation has passed. On an Error nothing stays behind. The calling process must have one
  // thread; SIGCHLD must not be ignored.
  static Expected<Jail> launch(const Plan& plan, const LaunchRequest& request);

  Jail(Jail&&) = default;
  Jail& operator=(Jail&&) = delete;
  // Kills what lives and waits for its end.
  ~Jail();

  int pidfd() const { return pidfd_.get(); }
  Fd& stdin_pipe() { return stdin_; }
  Fd& stdout_pipe() { return stdout_; }
  Fd& stderr_pipe() { return stderr_; }
  const HeldMounts& held() const { return held_; }
  Cgroup& cgroup() { return cgroup_; }
  std::uint32_t host_uid() const { return lease_.uid(); }
  const std::vector<std::string>& warnings() const { return warnings_; }
  pid_t guest() const { return guest_; }

  // Kills every process of the jail. Their end shows on pidfd().
  void kill() const;
  // After a kill that took too long: the destructor does not wait again.
  void abandon() { abandoned_ = true; }
  // After pidfd() is readable: reaps init. True if the guest's first process ended by itself or by
  // a signal of its own; then `status` is its wait status.
  bool reap(int& status);
  // Orphaned processes of the guest that died by SIGSYS.
  std::uint32_t orphans_sigsys() const { return report_->orphans_sigsys; }

  std::int64_t begin_ns() const { return begin_ns_; }
  // CLOCK_MONOTONIC of the guest's first instruction, and of its end (0 while it lives).
  std::int64_t started_ns() const { return stamp(Stage::Exec); }
  std::int64_t ended_ns() const { return report_->guest_end_ns; }
  void mark(Stage stage);
  std::vector<TimelineEntry> timeline() const { return make_timeline(begin_ns_, report_->end_ns); }

 private:
  struct Unmap {
    void operator()(child::Report* page) const;
  };
  using ReportPage = std::unique_ptr<child::Report, Unmap>;

  Jail(UidLease lease, Cgroup cgroup, ReportPage report)
      : lease_(std::move(lease)), report_(std::move(report)), cgroup_(std::move(cgroup)) {}
  std::int64_t stamp(Stage stage) const { return report_->end_ns[static_cast<std::size_t>(stage)]; }
  Error child_error() const;

  // Destroyed in reverse: processes first (in ~Jail), then cgroup, report and, last, the uid lease.
  UidLease lease_;
  ReportPage report_;
  Cgroup cgroup_;
  HeldMounts held_;
  Fd stdin_, stdout_, stderr_;
  Fd pidfd_;
  pid_t init_ = 0, guest_ = 0;
  bool reaped_ = false, abandoned_ = false;
  std::int64_t begin_ns_ = 0;
  std::vector<std::string> warnings_;

  friend class Launch;
};

}  // namespace jailrun
