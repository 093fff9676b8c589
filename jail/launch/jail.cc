#include "jail/launch/jail.h"

#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "jail/launch/launch.h"
#include "jail/launch/plain.h"
#include "jail/sys/uapi.h"

namespace jailrun {

void Jail::Unmap::operator()(child::Report* page) const { ::munmap(page, sizeof *page); }

Jail::~Jail() {
  if (!pidfd_.valid() || reaped_) return;
  kill();
  // Not for ever: a process stuck in the kernel must not keep the owner from saying so.
  pollfd entry{pidfd_.get(), POLLIN, 0};
  int ready = 0;
  while ((ready = ::poll(&entry, 1, abandoned_ ? 0 : 10'000)) < 0 && errno == EINTR) {
  }
  if (ready == 0) return;
  while (::waitpid(init_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Jail::kill() const {
  cgroup_.kill();
  // With init the kernel ends the whole pid namespace. Its pid is ours until it is reaped.
  if (!reaped_ && init_ > 0) ::kill(init_, SIGKILL);
}

bool Jail::reap(int& status) {
  while (::waitpid(init_, nullptr, 0) < 0 && errno == EINTR) {
  }
  reaped_ = true;
  if (__atomic_load_n(&report_->guest_done, __ATOMIC_ACQUIRE) == 0) return false;
  status = report_->guest_status;
  return true;
}

void Jail::mark(Stage stage) { report_->end_ns[static_cast<std::size_t>(stage)] = monotonic_ns(); }

Error Jail::child_error() const { return jailrun::child_error(*report_, "init"); }

Expected<Jail> Jail::launch(const Plan& plan, const LaunchRequest& request) {
  return Launch(plan, request).run();
}

Launch::Launch(const Plan& plan, const LaunchRequest& request) : plan_(plan), request_(request) {
  begin_ns_ = monotonic_ns();
  void* page = ::mmap(nullptr, sizeof(child::Report), PROT_READ | PROT_WRITE,
                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page != MAP_FAILED) report_.reset(static_cast<child::Report*>(page));
}

// The order of the stages that the owner performs; the child's run between release and attestation.
Expected<Jail> Launch::run() {
  if (!report_)
    return std::unexpected(
        sys_error(Stage::Clone, "memory", "cannot map a page", "free some memory"));
  TRY_VOID(step(Stage::OpenImage, &Launch::open_image));
  TRY_VOID(take_place());
  TRY_VOID(step(Stage::OpenStreams, &Launch::open_streams));
  prepare_child();
  TRY_VOID(step(Stage::JoinNetwork, &Launch::join_network));

  // From here on there is a process: `jail` ends it on every way out.
  Jail jail(std::move(*lease_), std::move(*cgroup_), std::move(report_));
  cgroup_.reset();
  TRY_VOID(clone(jail));
  TRY_VOID(release(jail));
  TRY_VOID(attest(jail));
  TRY_VOID(await_exec(jail));

  // Beyond this point the guest runs.
  jail.stdin_ = std::move(stdin_.write);
  jail.stdout_ = std::move(stdout_.read);
  jail.stderr_ = std::move(stderr_.read);
  jail.begin_ns_ = begin_ns_;
  jail.warnings_ = std::move(warnings_);
  return jail;
}

Expected<void> Launch::step(Stage stage, Expected<void> (Launch::*work)()) {
  if (request_.fail_at == stage) return std::unexpected(injected(stage));
  TRY_VOID((this->*work)());
  report_->end_ns[static_cast<std::size_t>(stage)] = monotonic_ns();
  return {};
}

// A uid, what is made for it, and its cgroup. Where a process of that uid's last jail hangs in the
// kernel, its owner has ended without it, and with the owner its lease: the next uid is taken.
Expected<void> Launch::take_place() {
  constexpr std::size_t kMostHung = 8;
  std::vector<UidLease> hung;
  for (;;) {
    TRY_VOID(step(Stage::LeaseUid, &Launch::lease_uid));
    TRY_VOID(step(Stage::OpenInputs, &Launch::open_inputs));
    Expected<void> made = step(Stage::MakeCgroup, &Launch::make_cgroup);
    if (made || made.error().errno_value != EBUSY || hung.size() == kMostHung) return made;
    warnings_.push_back("host uid " + std::to_string(lease_->uid()) +
                        " is left alone: " + made.error().line());
    hung.push_back(std::move(*lease_));
    inputs_.clear();
  }
}

Expected<void> Launch::open_image() {
  TRY(image_, jailrun::open_image(plan_));
  return {};
}

Expected<void> Launch::lease_uid() {
  // Said at once, and once: otherwise each thing that takes a right would be refused in turn.
  if (!can_build_jails()) {
    return std::unexpected(
        Error{Stage::LeaseUid, "rights", EPERM, "this process has no right to build a jail",
              "call enter_as_plain_user() first, as `jailrun` does, or run as root"});
  }
  TRY(run_dir_, open_run_dir());
  TRY(lease_, UidLease::acquire(run_dir_));
  if (lease_->is_own()) {
    warnings_.push_back(
        "the guest has your own uid and groups on this host: give yourself a range in /etc/subuid "
        "and /etc/subgid, and install newuidmap");
  }
  return {};
}

Expected<void> Launch::open_inputs() {
  for (const InputSource& source : request_.inputs) {
    TRY(Input input, open_input(source, lease_->uid(), warnings_));
    for (const Input& other : inputs_) {
      if (other.name != input.name) continue;
      return std::unexpected(Error{Stage::OpenInputs, input.name, 0,
                                   "two inputs are called " + input.name + " in /data",
                                   "name one of them with --file " + source.path + ":OTHER_NAME"});
    }
    inputs_.push_back(std::move(input));
  }
  if (request_.packages.empty()) return {};
  TRY(std::vector<Input> layers, open_packages(plan_, request_.packages));
  std::ranges::move(layers, std::back_inserter(inputs_));
  return {};
}

Expected<void> Launch::make_cgroup() {
  const CgroupLimits limits{plan_.memory_bytes, plan_.pids, plan_.cpu_millis, plan_.may_lack};
  TRY(cgroup_, Cgroup::create("jailrun-" + std::to_string(lease_->slot()), limits));
  if (!cgroup_->has_leaf()) {
    warnings_.push_back(
        "nothing limits memory, processes and CPU of this jail on this host (policy " +
        std::string(plan_.policy) + ", danger)");
  }
  return {};
}

Expected<void> Launch::open_streams() {
  for (Pipe* pipe : {&stdin_, &stdout_, &stderr_}) {
    TRY(*pipe, open_stream(lease_->uid()));
  }
  TRY(Channel channel, open_channel());
  control_ = std::move(channel.owner);
  child_control_ = std::move(channel.child);
  return {};
}

Expected<void> Launch::join_network() {
  if (plan_.network == NetworkMode::Loopback && request_.bring_up_loopback == nullptr) {
    return std::unexpected(Error{Stage::JoinNetwork, "network.mode", 0,
                                 "this program cannot set up a loopback network",
                                 "run it through `jailrun`, beside which jailrun-full lies"});
  }
  // Abstract sockets are the one thing that jails would share: only where Landlock keeps them
  // apart.
  if (plan_.network != NetworkMode::None || plan_.landlock.abi < 6) return {};
  network_ = open_null_network(run_dir_);
  if (!network_.valid()) return {};
  Expected<InNetwork> inside = InNetwork::enter(network_);
  // Not empty: somebody has put an interface there, or this host's modules (ipip, sit) put one into
  // every new namespace. One of the jail's own is as good a wall, only slower.
  if (!inside) return {};
  in_network_.emplace(std::move(*inside));
  struct stat st{};
  ::fstat(network_.get(), &st);
  network_inode_ = st.st_ino;
  return {};
}

Expected<void> Launch::clone(Jail& jail) {
  if (request_.fail_at == Stage::Clone) return std::unexpected(injected(Stage::Clone));
  // The child is born in the image's directory: that is how it finds it without a path, in its own
  // mount namespace, in which a descriptor of ours would be foreign.
  const Fd home(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!home.valid() && (errno == EMFILE || errno == ENFILE)) {
    return std::unexpected(sys_error(Stage::Clone, ".", "cannot open the current directory",
                                     "raise the limit of open files"));
  }
  int pidfd = -1;
  uapi::clone_args args{};
  args.flags = uapi::kCloneNewuser | uapi::kCloneNewpid | uapi::kCloneNewns | uapi::kCloneNewipc |
               uapi::kCloneNewuts | uapi::kClonePidfd;
  if (!in_network_) args.flags |= uapi::kCloneNewnet;
  args.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  if (jail.cgroup_.has_leaf()) {
    args.flags |= uapi::kCloneIntoCgroup;
    args.cgroup = static_cast<std::uint64_t>(jail.cgroup_.v2_fd());
  }
  if (::fchdir(image_.get()) != 0)
    return std::unexpected(
        sys_error(Stage::Clone, "image", "cannot enter the image", "build it again"));
  const long child = ::syscall(SYS_clone3, &args, sizeof args);
  if (child == 0) child::init_main(&child_);
  const int error = errno;
  in_network_.reset();
  if (home.valid() && ::fchdir(home.get()) != 0) {
    // The caller's directory is gone or closed to it: stay in the image, which nobody can write to.
  }
  if (child < 0) {
    if (std::optional<Error> named = lacking_feature(Stage::Clone, error, 0))
      return std::unexpected(std::move(*named));
    return std::unexpected(Error{Stage::Clone, "namespaces", error,
                                 "cannot create the jail's namespaces",
                                 "run `jailrun doctor` to see what this host allows"});
  }
  jail.pidfd_ = Fd(pidfd);
  jail.init_ = static_cast<pid_t>(child);
  jail.mark(Stage::Clone);
  // Our copies of the child's ends: with them open its end would never show.
  child_control_.reset();
  stdin_.read.reset();
  stdout_.write.reset();
  stderr_.write.reset();
  if (!request_.wants_stdin) stdin_.write.reset();
  return {};
}

Expected<void> Launch::release(Jail& jail) {
  if (request_.fail_at == Stage::MapIds) return std::unexpected(injected(Stage::MapIds));
  TRY_VOID(map_ids(jail.init_, jail.lease_.uid()));
  jail.mark(Stage::MapIds);
  if (plan_.network == NetworkMode::Loopback) TRY_VOID(request_.bring_up_loopback(jail.init_));
  const char byte = 'g';
  if (::send(control_.get(), &byte, 1, MSG_NOSIGNAL) != 1)
    return std::unexpected(jail.child_error());
  return {};
}

// A byte, or end of file: the child's only words.
Expected<void> Launch::await_child(Jail& jail) {
  char byte = 0;
  ssize_t n = 0;
  while ((n = ::read(control_.get(), &byte, 1)) < 0 && errno == EINTR) {
  }
  if (n != 1) return std::unexpected(jail.child_error());
  return {};
}

Expected<void> Launch::attest(Jail& jail) {
  const std::vector<ExpectedMount> mounts = expected_mounts();
  Posture posture{jail.init_, jail.lease_.uid(), own_namespaces(), network_inode_, mounts};
  posture.filters = own_filters();
  if (jail.lease_.is_own()) posture.groups = own_groups();
  if (!receive_mounts(control_, jail.held_)) return std::unexpected(jail.child_error());
  // Init has put the world together; while it gives up its rights, the world is read.
  if (request_.fail_at == Stage::Attest) return std::unexpected(injected(Stage::Attest));
  const Expected<void> seen = attest_world(posture, jail.cgroup_);
  if (!seen) {
    // An init that fails meanwhile leaves a world that is wrong: what it said itself is the cause.
    pollfd ended{jail.pidfd_.get(), POLLIN, 0};
    const bool failed = jail.report_->error_stage != 0 || ::poll(&ended, 1, 100) > 0;
    return std::unexpected(failed ? jail.child_error() : seen.error());
  }
  TRY_VOID(await_child(jail));
  // The guest is blocked at its last gate, confined to the last step.
  TRY(const Attested attested, attest_guest(posture, jail.cgroup_));
  jail.guest_ = attested.guest;
  jail.mark(Stage::Attest);
  if (request_.at_gate) return request_.at_gate(attested.guest);
  return {};
}

Expected<void> Launch::await_exec(Jail& jail) {
  char byte = 'g';
  if (::send(control_.get(), &byte, 1, MSG_NOSIGNAL) != 1)
    return std::unexpected(jail.child_error());
  // Exec closes the guest's end and wakes init, which closes its own: end of file is success.
  while (::read(control_.get(), &byte, 1) < 0 && errno == EINTR) {
  }
  control_.reset();
  // No stamp of Exec: the guest was killed at the gate.
  if (jail.report_->error_stage != 0 || jail.stamp(Stage::Exec) == 0) {
    Error error = jail.child_error();
    if (error.stage == Stage::Exec) error = exec_error(error.errno_value);
    return std::unexpected(std::move(error));
  }
  return {};
}

}  // namespace jailrun
