#include "jail/daemon/lease.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <utility>

#include "jail/run/collect.h"

namespace jailrun {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000, kForever = INT64_MAX,
                       kKillGraceNs = 10'000'000'000;
// A client that takes files out gets a little longer than its own limit of 30 s.
constexpr std::chrono::seconds kWalkDeadline{35};

}  // namespace

JailLease::JailLease(asio::io_context& io, Loan loan, Terms terms)
    : io_(io), loan_(std::move(loan)), terms_(std::move(terms)), timer_(io) {
  loan_.jail->holder = this;
}

// Whoever gives up a lease before its jail is gone (its client may end while it is being told) must
// not leave the jail pointing here.
JailLease::~JailLease() {
  if (loan_.jail != nullptr && loan_.jail->holder == this) loan_.world->discard(*loan_.jail);
}

Expected<void> JailLease::prepare(std::vector<InputFile> files, std::vector<Input> inputs,
                                  std::string_view first, std::vector<std::string>& warnings) {
  WarmJail& jail = *loan_.jail->jail;
  Expected<void> ready;
  if (terms_.narrowed) {
    const LeaseLimits& limits = terms_.limits;
    ready = jail.limit({limits.memory_bytes, static_cast<std::uint32_t>(limits.pids),
                        static_cast<std::uint32_t>(limits.cpu_millis)});
  }
  if (ready && (!files.empty() || !inputs.empty())) {
    for (InputFile& each : files) {
      Expected<Input> input =
          open_input_fd(std::move(each.file), each.name, jail.host_uid(), warnings);
      if (!input) {
        ready = std::unexpected(input.error());
        break;
      }
      inputs.push_back(std::move(*input));
    }
    if (ready) ready = jail.attach(inputs);
  }
  if (ready && !first.empty()) ready = jail.put_request(first);
  if (!ready) loan_.world->discard(*std::exchange(loan_.jail, nullptr));
  return ready;
}

void JailLease::start(Done done) {
  done_ = std::move(done);
  WarmJail& jail = *loan_.jail->jail;
  started_ns_ = monotonic_ns();
  // The default CPU limit is what the quota allows in the wall time: nothing to watch then.
  const LeaseLimits& limits = terms_.limits;
  next_cpu_check_ns_ =
      limits.cpu_ns < limits.wall_ns / 1000 * limits.cpu_millis ? started_ns_ : kForever;
  jail.watch_oom();
  if (const int event = jail.cgroup().oom_event(); event >= 0) {
    oom_watch_ = std::make_shared<Watch>(io_, event);
    asio::co_spawn(io_, watch_oom(shared_from_this(), oom_watch_), asio::detached);
  }
  arm();
}

Task JailLease::watch_oom([[maybe_unused]] std::shared_ptr<JailLease> self,
                          std::shared_ptr<Watch> watch) {
  for (;;) {
    const bool readable = co_await watch->readable();
    if (!readable || ended_ns_ != 0 || killed_ns_ != 0) co_return;
    // v1 tells every group below the one that is out of memory: as in judge(), only a jail that was
    // near its own limit dies of it.
    const Cgroup& cgroup = loan_.jail->jail->cgroup();
    std::uint64_t events = 0;
    (void)!::read(cgroup.oom_event(), &events, sizeof events);
    const CgroupEvidence seen = cgroup.evidence();
    if (seen.oom_kills > 0 ||
        seen.memory_peak_bytes.value_or(0) >= terms_.limits.memory_bytes / 8 * 7) {
      evidence_.oom_event = true;
      kill();
      co_return;
    }
    spdlog::warn("lease {}: a group above it is out of memory", terms_.id);
  }
}

void JailLease::kill() {
  if (killed_ns_ != 0 || ended_ns_ != 0) return;
  killed_ns_ = monotonic_ns();
  evidence_.killed_by_owner = true;
  loan_.jail->jail->kill();
  arm();
}

void JailLease::cancel(const std::string& why) {
  if (killed_ns_ == 0 && ended_ns_ == 0) evidence_.cancelled = why;
  kill();
}

void JailLease::output_exceeded(const std::string& stream) {
  // A guest may have ended by itself before its client had read that much: the limit was hit.
  if (killed_ns_ == 0) evidence_.output_exceeded = stream;
  kill();
}

std::uint64_t JailLease::memory_bytes() const {
  return live() ? loan_.jail->jail->cgroup().evidence().memory_peak_bytes.value_or(0) : 0;
}

void JailLease::signal(int number) {
  if (killed_ns_ == 0 && ended_ns_ == 0) loan_.jail->jail->signal(number);
}

void JailLease::expire() {
  if (killed_ns_ == 0 && ended_ns_ == 0) evidence_.wall_expired = true;
  kill();
}

void JailLease::arm() {
  std::int64_t next = started_ns_ + static_cast<std::int64_t>(terms_.limits.wall_ns);
  next = std::min(next, next_cpu_check_ns_);
  if (killed_ns_ != 0) next = killed_ns_ + kKillGraceNs;
  timer_.expires_after(nanoseconds(std::max<std::int64_t>(next - monotonic_ns(), 0)));
  timer_.async_wait([weak = weak_from_this()](boost::system::error_code error) {
    if (const auto self = weak.lock(); self && !error) self->check();
  });
}

void JailLease::check() {
  if (ended_ns_ != 0 && killed_ns_ == 0) return;
  if (killed_ns_ != 0) return give_up();
  const std::int64_t now = monotonic_ns();
  const LeaseLimits& limits = terms_.limits;
  if (now >= started_ns_ + static_cast<std::int64_t>(limits.wall_ns)) {
    evidence_.wall_expired = true;
    return kill();
  }
  if (now >= next_cpu_check_ns_) {
    const std::uint64_t used = loan_.jail->jail->cgroup().cpu_ns();
    if (used >= limits.cpu_ns) {
      evidence_.cpu_expired = true;
      return kill();
    }
    // It cannot use up the rest sooner than all its CPUs together.
    const std::uint64_t left =
        (limits.cpu_ns - used) * 1000 / std::max<std::uint64_t>(limits.cpu_millis, 1000);
    next_cpu_check_ns_ = now + std::max(static_cast<std::int64_t>(left), kMillisecond);
  }
  arm();
}

void JailLease::guest_ended() {
  if (ended_ns_ == 0) ended_ns_ = monotonic_ns();
}

void JailLease::lost(const Error& why) {
  if (evidence_.cancelled.empty()) evidence_.cancelled = why.message;
  evidence_.killed_by_owner = true;
}

// Its client is told; the jail keeps uid and cgroup until its last process is gone after all.
void JailLease::give_up() {
  spdlog::error("lease {}: the jail does not die: a process hangs in the kernel", terms_.id);
  if (!done_) return;
  Closing closing = settle(true);
  closing.result.warnings.emplace_back(
      "a process of the jail hangs in the kernel: it cannot be killed, keeps its memory until it "
      "ends, and what is in /work is lost; look for state D in `ps`");
  std::exchange(done_, nullptr)(terms_.id, std::move(closing));
}

JailLease::Closing JailLease::settle(bool hangs) {
  WarmJail& jail = *loan_.jail->jail;
  timer_.cancel();
  if (oom_watch_) oom_watch_->cancel();
  if (ended_ns_ == 0) ended_ns_ = monotonic_ns();
  evidence_.wall_ns =
      static_cast<std::uint64_t>(std::max<std::int64_t>(ended_ns_ - started_ns_, 0));
  Plan plan = loan_.world->world().plan();
  apply(terms_.limits, plan);
  if (blamed_wall_ns_ != 0) {
    evidence_.wall_expired = true;
    plan.wall_ns = blamed_wall_ns_;
  }
  Closing closing;
  closing.result = hangs ? jail.settle_early(plan, evidence_) : jail.settle(plan, evidence_);
  closing.result.start = loan_.parked ? "parked" : "forked";
  return closing;
}

// True: a process walks /work, and the jail's uid is needed until it has ended.
bool JailLease::walk_work(Closing& closing) {
  const WarmJail& jail = *loan_.jail->jail;
  struct stat st{};
  if (!done_ || !terms_.wants_files || !has_files(jail.work())) return false;
  if (::fstat(jail.work().get(), &st) != 0) {
    closing.result.warnings.push_back(sys_error(Stage::Collect, "/work",
                                                "cannot look at /work, its files are lost",
                                                "run it again")
                                          .line());
    return false;
  }
  Expected<Walk> walk = start_walk(jail.work(), jail.host_uid());
  if (!walk) {
    closing.result.warnings.push_back(walk.error().line());
    return false;
  }
  closing.files = std::move(walk->socket);
  closing.work_device = st.st_dev;
  loan_.jail->state = PooledJail::State::Collecting;
  loan_.jail->holder = nullptr;
  asio::co_spawn(io_, await_walk(shared_from_this(), walk->pid), asio::detached);
  return true;
}

Task JailLease::await_walk([[maybe_unused]] std::shared_ptr<JailLease> self, int pid) {
  const Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  const auto watch = std::make_shared<Watch>(io_, pidfd.get());
  timer_.expires_after(kWalkDeadline);
  timer_.async_wait([watch](boost::system::error_code error) {
    if (!error) watch->cancel();
  });
  co_await watch->readable();
  ::kill(pid, SIGKILL);
  while (::waitpid(pid, nullptr, 0) < 0 && errno != ECHILD) {
  }
  timer_.cancel();
  release();
}

void JailLease::release() {
  loan_.jail->state = PooledJail::State::Dying;
  loan_.jail->holder = nullptr;
  loan_.world->remove(*loan_.jail);
  loan_.jail = nullptr;
}

void JailLease::gone() {
  const auto self = shared_from_this();  // `done` may let go of the last owner
  Closing closing = settle();
  const bool walking = walk_work(closing);
  if (done_) std::exchange(done_, nullptr)(terms_.id, std::move(closing));
  if (!walking) release();
}

}  // namespace jailrun
