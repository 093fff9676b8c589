#include "jail/run/supervise.h"

#include <poll.h>
#include <sys/signalfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace jailrun {
namespace {

constexpr std::size_t kChunk = 65536;
// A pipe that nobody else writes to takes this much without blocking once poll(2) says so
// (PIPE_BUF). One that is shared may block us all the same: then init's own clock still ends the
// jail.
constexpr std::size_t kSafeWrite = 4096;
// A pipe says POLLERR, a socket only POLLHUP.
constexpr short kReaderGone = POLLERR | POLLHUP;
constexpr std::int64_t kMillisecond = 1'000'000, kForever = INT64_MAX,
                       kKillGraceNs = 10'000'000'000;

class Supervisor {
 public:
  Supervisor(const Plan& plan, Jail& jail, Supervision& supervision, Evidence& evidence)
      : plan_(plan), jail_(jail), s_(supervision), evidence_(evidence) {}
  Expected<void> run();

 private:
  enum Slot : std::size_t {
    Pid,
    Cancel,
    Oom,
    OutPipe,
    ErrPipe,
    OutForward,
    ErrForward,
    StdinSource,
    StdinPipe,
    Slots
  };

  void prepare_poll();
  std::int64_t next_deadline() const;
  void check_deadlines(std::int64_t now);
  void handle();
  void read_stream(Fd& pipe, OutputStream& stream);
  void write_stream(OutputStream& stream);
  void feed_stdin();
  void end(std::string cancelled);
  bool flushed() const;
  void watch(Slot slot, int fd, short events) { entries_[slot] = {fd, events, 0}; }
  // The guest is gone and this pipe is not held up by a slow reader: take what is left, wait for
  // nothing.
  bool drains(Slot slot) const { return gone_ && entries_[slot].fd >= 0; }
  bool ready(Slot slot) const { return entries_[slot].fd >= 0 && entries_[slot].revents != 0; }

  const Plan& plan_;
  Jail& jail_;
  Supervision& s_;
  Evidence& evidence_;
  std::array<pollfd, Slots> entries_{};
  std::string to_stdin_;
  bool source_ended_ = false;
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
  const bool feeding = jail_.stdin_pipe().valid();
  watch(Pid, gone_ ? -1 : jail_.pidfd(), POLLIN);
  watch(Cancel, s_.cancel, POLLIN);
  watch(Oom, killed_ || gone_ ? -1 : jail_.cgroup().oom_event(), POLLIN);
  // What waits to be passed on is passed on first: memory stays bounded by one chunk.
  watch(OutPipe, s_.out.forward >= 0 && !s_.out.captured.empty() ? -1 : jail_.stdout_pipe().get(),
        POLLIN);
  watch(ErrPipe, s_.err.forward >= 0 && !s_.err.captured.empty() ? -1 : jail_.stderr_pipe().get(),
        POLLIN);
  watch(OutForward, s_.out.forward, s_.out.captured.empty() ? 0 : POLLOUT);
  watch(ErrForward, s_.err.forward, s_.err.captured.empty() ? 0 : POLLOUT);
  watch(StdinSource, feeding && !source_ended_ && to_stdin_.empty() ? s_.stdin_source : -1, POLLIN);
  watch(StdinPipe, feeding ? jail_.stdin_pipe().get() : -1, to_stdin_.empty() ? 0 : POLLOUT);
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

void Supervisor::read_stream(Fd& pipe, OutputStream& stream) {
  char buffer[kChunk];
  const ssize_t n = ::read(pipe.get(), buffer, sizeof buffer);
  // With every process gone, an empty pipe is at its end: a descriptor that the guest sent to
  // itself (SCM_RIGHTS in a cycle) keeps the write end open until the kernel's collector of sockets
  // runs.
  if (n < 0 && (errno == EINTR || (errno == EAGAIN && !gone_))) return;
  if (n <= 0) {
    pipe.reset();
    return;
  }
  const std::uint64_t room = plan_.output_bytes - stream.seen;
  const auto taken = std::min(static_cast<std::uint64_t>(n), room);
  stream.captured.append(buffer, taken);
  stream.seen += taken;
  if (taken == static_cast<std::uint64_t>(n)) return;
  stream.truncated = true;
  if (evidence_.output_exceeded.empty()) evidence_.output_exceeded = stream.name;
  pipe.reset();
  end({});
}

void Supervisor::write_stream(OutputStream& stream) {
  const ssize_t n =
      ::write(stream.forward, stream.captured.data(), std::min(stream.captured.size(), kSafeWrite));
  if (n >= 0) {
    stream.captured.erase(0, static_cast<std::size_t>(n));
  } else if (errno != EINTR && errno != EAGAIN) {
    const int error = errno;
    stream.captured.clear();
    stream.forward = -1;  // from here on it is counted and thrown away
    const bool closed = error == EPIPE || error == ECONNRESET;
    end(std::string(stream.name) +
        (closed ? " was closed by its reader"
                : std::string(" cannot be written: ") + strerrordesc_np(error)));
  }
}

void Supervisor::feed_stdin() {
  if (ready(StdinSource)) {
    char buffer[kChunk];
    const ssize_t n = ::read(s_.stdin_source, buffer, sizeof buffer);
    if (n > 0) to_stdin_.assign(buffer, static_cast<std::size_t>(n));
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) source_ended_ = true;
  }
  if (ready(StdinPipe)) {
    if ((entries_[StdinPipe].revents & POLLERR) != 0) {
      jail_.stdin_pipe().reset();  // the guest has closed its end
      return;
    }
    const ssize_t n =
        ::write(jail_.stdin_pipe().get(), to_stdin_.data(), std::min(to_stdin_.size(), kSafeWrite));
    if (n > 0) to_stdin_.erase(0, static_cast<std::size_t>(n));
    if (n < 0 && errno == EPIPE) jail_.stdin_pipe().reset();
  }
  if (source_ended_ && to_stdin_.empty()) jail_.stdin_pipe().reset();
}

void Supervisor::handle() {
  if (ready(Cancel)) {
    signalfd_siginfo signal{};
    const ssize_t n = ::read(s_.cancel, &signal, sizeof signal);
    end(n == sizeof signal ? signal_name(static_cast<int>(signal.ssi_signo)) + " received"
                           : "asked to");
    if (gone_) {  // only a slow reader is left
      s_.out.captured.clear();
      s_.err.captured.clear();
    }
  }
  if (ready(Oom)) {
    // v1 has told us before its killer runs: wait for the kill, so that the evidence is complete.
    evidence_.oom_event = true;
    end({});
  }
  if (ready(OutForward)) {
    if ((entries_[OutForward].revents & kReaderGone) != 0 && s_.out.captured.empty()) {
      s_.out.forward = -1;
      end("stdout was closed by its reader");
    } else if (!s_.out.captured.empty()) {
      write_stream(s_.out);
    }
  }
  if (ready(ErrForward)) {
    if ((entries_[ErrForward].revents & kReaderGone) != 0 && s_.err.captured.empty()) {
      s_.err.forward = -1;
      end("stderr was closed by its reader");
    } else if (!s_.err.captured.empty()) {
      write_stream(s_.err);
    }
  }
  if (ready(OutPipe) || drains(OutPipe)) read_stream(jail_.stdout_pipe(), s_.out);
  if (ready(ErrPipe) || drains(ErrPipe)) read_stream(jail_.stderr_pipe(), s_.err);
  feed_stdin();
  if (ready(Pid)) gone_ = true;
}

bool Supervisor::flushed() const {
  const bool out = s_.out.forward < 0 || s_.out.captured.empty();
  const bool err = s_.err.forward < 0 || s_.err.captured.empty();
  return out && err && !jail_.stdout_pipe().valid() && !jail_.stderr_pipe().valid();
}

Expected<void> Supervisor::run() {
  jail_.cgroup().watch_oom();
  if (jail_.cgroup().evidence().oom_kills > 0) {  // it came before the watch
    evidence_.oom_event = true;
    end({});
  }
  for (Fd* pipe : {&jail_.stdin_pipe(), &jail_.stdout_pipe(), &jail_.stderr_pipe()}) {
    if (pipe->valid()) ::fcntl(pipe->get(), F_SETFL, O_NONBLOCK);
  }
  // The default CPU limit is what the quota allows in the wall time: nothing to watch then.
  if (plan_.cpu_ns < plan_.wall_ns / 1000 * plan_.cpu_millis) next_cpu_check_ns_ = 0;
  // All writers die with init, so end of file follows its end: whatever they wrote is still passed
  // on.
  while (!gone_ || !flushed()) {
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
    const std::int64_t deadline = drains(OutPipe) || drains(ErrPipe) ? now : next_deadline();
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
