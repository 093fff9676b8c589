// Branch: a process that a jail's guest has forked and given pipes of its own, so that it can be
// talked to apart from the guest. What it is, the guest says; that it is one of this jail, the
// kernel. It has the jail's limits, files and rights in common with the guest.
#pragma once

#include <array>
#include <memory>

#include "jail/confine/cgroup.h"
#include "jail/pool/warm_jail.h"

namespace jailrun {

class Branch {
 public:
  // `inside`: its pid as the jail sees it; `ends`: descriptors that it has open, the outer halves
  // of its pipes in the order of WarmJail::Ends. Errors: it is none of this jail's processes, an
  // end is no pipe.
  static Expected<std::unique_ptr<Branch>> open(const Cgroup& cgroup, pid_t inside,
                                                const std::array<int, 5>& ends);

  const WarmJail::Ends& ends() const { return ends_; }
  int pidfd() const { return pidfd_.get(); }  // readable: it has ended
  void signal(int number) const;
  // It and all that it has started, but for what has made itself a POSIX session of its own: that
  // lasts until the jail ends.
  void kill(const Cgroup& cgroup) const;

 private:
  Branch(Fd pidfd, pid_t pid) : pidfd_(std::move(pidfd)), pid_(pid) {}

  Fd pidfd_;
  pid_t pid_;  // on the host
  WarmJail::Ends ends_;
};

}  // namespace jailrun
