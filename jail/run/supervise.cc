#include "jail/run/supervise.h"

#include <poll.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace jailrun {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000, kForever = INT64_MAX,
                       kKillGraceNs = 10'000'000'000;

class Supervisor {
 public:
  Supervisor(const Plan& plan, Jail& jail, Supervision& supervision, Evidence& evidence)
      : plan_(plan),
        jail_(jail),
        s_(supervision),
        evidence_(evidence),
        streams_(s_.out, s_.err, s_.stdin_source,
                 {jail.stdin_pipe(), jail.stdout_pipe(), jail.stderr_pipe()}, plan.output_bytes) {}
  Expected<void> run();

 private:
  enum Slot : std::size_t { Pid, Cancel, Oom, FirstStream, Slots = FirstStream + Streams::kSlots };

  void prepare_poll();
  std::int64_t next_deadline() const;
  void check_deadlines(std::int64_t now);
  void handle();
  void end(std::string cancelled);
  void watch(Slot slot, int fd, short events) { entries_[slot] = {fd, events, 0}; }
  bool ready(Slot slot) const { return entries_[slot].fd >= 0 && entries_[slot].revents != 0; }

  const Plan& plan_;
  Jail& jail_;
  Supervision& s_;
  Evidence& evidence_;
  std::array<pollfd, Slots> entries_{};
  Streams streams_;
  bool killed_ = false, gone_ = false;
  std::int64_t kill_ns_ = 0, next_cpu_check_ns_ = kForever;
};

void Supervisor::end(std::string cancelled) {
  if (!cancelled.empty() && evidence_.cancelled.empty()) evidence_.cancelled = std::move(cancelled);
  if (killed_) return;
  killed_ = true;
  kill_ns_ = monotonic_ns();
  jail_.kill();
  jail_.mark(Stage::Kill);
}

void Supervisor::prepare_poll() {
  watch(Pid, gone_ ? -1 : jail_.pidfd(), POLLIN);
  watch(Cancel, s_.cancel, POLLIN);
  watch(Oom, killed_ || gone_ ? -1 : jail_.cgroup().oom_event(), POLLIN);
  streams_.prepare(&entries_[FirstStream], gone_);
}

std::int64_t Supervisor::next_deadline() const {
  if (gone_) return kForever;
  if (killed_) return kill_ns_ + kKillGraceNs;
  return std::min(jail_.started_ns() + static_cast<std::int64_t>(plan_.wall_ns),
                  next_cpu_check_ns_);
}

void Supervisor::check_deadlines(std::int64_t now) {
  if (gone_ || killed_) return;
  if (now >= jail_.started_ns() + static_cast<std::int64_t>(plan_.wall_ns)) {
    evidence_.wall_expired = true;
    end({});
    return;
  }
  if (now < next_cpu_check_ns_) return;
  const std::uint64_t used = jail_.cgroup().cpu_ns();
  if (used >= plan_.cpu_ns) {
    evidence_.cpu_expired = true;
    end({});
    return;
  }
  // It cannot use up the rest sooner than all its CPUs together.
  const std::uint64_t left = (plan_.cpu_ns - used) * 1000 / std::max(plan_.cpu_millis, 1000u);
  next_cpu_check_ns_ = now + std::max(static_cast<std::int64_t>(left), kMillisecond);
}

void Supervisor::handle() {
  if (ready(Cancel)) {
    signalfd_siginfo signal{};
    const ssize_t n = ::read(s_.cancel, &signal, sizeof signal);
    end(n == sizeof signal ? signal_name(static_cast<int>(signal.ssi_signo)) + " received"
                           : "asked to");
    if (gone_) streams_.give_up();  // only a slow reader is left
  }
  if (ready(Oom)) {
    // v1 has told us before its killer runs: wait for the kill, so that the evidence is complete.
    evidence_.oom_event = true;
    end({});
  }
  streams_.handle(&entries_[FirstStream]);
  if (!streams_.exceeded().empty() && evidence_.output_exceeded.empty()) {
    evidence_.output_exceeded = streams_.exceeded();
    end({});
  }
  if (!streams_.cancelled().empty()) end(streams_.cancelled());
  if (ready(Pid)) gone_ = true;
}

Expected<void> Supervisor::run() {
  jail_.cgroup().watch_oom();
  if (jail_.cgroup().evidence().oom_kills > 0) {  // it came before the watch
    evidence_.oom_event = true;
    end({});
  }
  // The default CPU limit is what the quota allows in the wall time: nothing to watch then.
  if (plan_.cpu_ns < plan_.wall_ns / 1000 * plan_.cpu_millis) next_cpu_check_ns_ = 0;
  // All writers die with init, so end of file follows its end: whatever they wrote is still passed
  // on.
  while (!gone_ || !streams_.flushed()) {
    std::int64_t now = monotonic_ns();
    check_deadlines(now);
    if (killed_ && !gone_ && now >= kill_ns_ + kKillGraceNs) {
      jail_.abandon();
      return std::unexpected(
          Error{Stage::Kill, "jail", 0, "the jail does not die: a process hangs in the kernel",
                "look for a process in state D; its cgroup and uid stay taken until it is gone"});
    }
    prepare_poll();
    timespec timeout{};
    const std::int64_t deadline = streams_.drains() ? now : next_deadline();
    const std::int64_t left = std::max<std::int64_t>(deadline - now, 0);
    timeout.tv_sec = left / 1'000'000'000;
    timeout.tv_nsec = left % 1'000'000'000;
    if (::ppoll(entries_.data(), entries_.size(), deadline == kForever ? nullptr : &timeout,
                nullptr) < 0)
      continue;
    handle();
  }
  evidence_.guest_ended = jail_.reap(evidence_.wait_status);
  // Init's stamp decides: taking down what the guest left running is not the guest's time. And init
  // ends the jail by itself where this process was stopped at the deadline.
  const std::int64_t deadline = jail_.started_ns() + static_cast<std::int64_t>(plan_.wall_ns);
  if (evidence_.guest_ended && jail_.ended_ns() < deadline) evidence_.wall_expired = false;
  if (!evidence_.guest_ended && !killed_ && monotonic_ns() >= deadline)
    evidence_.wall_expired = true;
  evidence_.killed_by_owner = killed_;
  evidence_.orphans_sigsys = jail_.orphans_sigsys();
  const std::int64_t ended = jail_.ended_ns() != 0 ? jail_.ended_ns() : monotonic_ns();
  evidence_.wall_ns =
      static_cast<std::uint64_t>(std::max<std::int64_t>(ended - jail_.started_ns(), 0));
  jail_.mark(Stage::Run);
  return {};
}

}  // namespace

Expected<void> supervise(const Plan& plan, Jail& jail, Supervision& supervision,
                         Evidence& evidence) {
  return Supervisor(plan, jail, supervision, evidence).run();
}

}  // namespace jailrun
