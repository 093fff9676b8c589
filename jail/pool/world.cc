#include "jail/pool/world.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>

#include "jail/confine/mounts.h"
#include "jail/confine/net.h"
#include "jail/launch/parts.h"
#include "jail/launch/plain.h"
#include "jail/launch/timeline.h"
#include "jail/sys/uapi.h"

namespace jailrun {
namespace {

std::string program_dir() {
  char path[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", path, sizeof path);
  const std::string program(path, length > 0 ? static_cast<std::size_t>(length) : 0);
  return program.substr(0, program.rfind('/'));
}

// A descriptor of a thing that only we and root can change.
Expected<Fd> open_own(const std::string& path, int flags) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC));
  struct stat st{};
  if (!fd.valid() || ::fstat(fd.get(), &st) != 0) {
    return std::unexpected(sys_error(Stage::OpenImage, path, "cannot open " + path,
                                     "install all programs and files of one build"));
  }
  if (!only_we_could_change(st)) {
    return std::unexpected(Error{Stage::OpenImage, path, 0, path + " could be changed by others",
                                 "make it writable for its owner only"});
  }
  return fd;
}

// The directory as a mount of its own, which the keeper moves into its world.
Expected<Fd> detach_tools(const std::string& path) {
  TRY(const Fd dir, open_own(path, O_PATH | O_DIRECTORY));
  Fd mount = read_only_mount(dir);
  if (!mount.valid()) {
    return std::unexpected(
        sys_error(Stage::MountData, path, "cannot make a mount of " + path, "run as root"));
  }
  return mount;
}

Expected<Fd> share_plan(const Plan& plan, const child::HostPlan& host) {
  auto both = std::make_unique<child::WarmPlan>();
  both->plan = plan;
  both->host = host;
  Fd fd(::memfd_create("jailrun-plan", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid() ||
      write_all(fd.get(), reinterpret_cast<const char*>(both.get()), sizeof *both) != 0 ||
      ::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) !=
          0) {
    return std::unexpected(
        sys_error(Stage::Clone, "memory", "cannot share the plan", "free some memory"));
  }
  return fd;
}

}  // namespace

std::vector<std::string> World::program_files() {
  const std::string programs = program_dir();
  return {programs + "/jailrun-spawner", programs + "/../lib/jailrun"};
}

Expected<std::unique_ptr<World>> World::start(const Plan& plan, int stderr_fd,
                                              const std::string& programs) {
  std::unique_ptr<World> world(new World);
  world->plan_ = plan;
  world->host_ = make_host_plan(plan);
  world->owner_ = own_namespaces();
  world->filters_ = own_filters();
  world->mounts_ = standard_mounts(plan);
  TRY_VOID(world->launch(stderr_fd, programs.empty() ? program_dir() : programs));
  return world;
}

Expected<void> World::launch(int stderr_fd, const std::string& programs) {
  if (plan_.network != NetworkMode::None || plan_.landlock.abi < 6) {
    return std::unexpected(Error{
        Stage::JoinNetwork, "null network", 0,
        "jails of this policy cannot be made ahead: that takes a policy without network and a "
        "kernel with Landlock scopes (6.12)",
        "run it with --cold"});
  }
  TRY(const Fd image, open_image(plan_));
  TRY(const Fd run_dir, open_run_dir());
  TRY(UidLease lease, UidLease::acquire_block(run_dir));
  uid_base_ = lease.uid();
  lease_.emplace(std::move(lease));
  const std::string number = std::to_string((uid_base_ - kUidBase) / kWorldUids);
  TRY(WorldGroup group, WorldGroup::create("jailrun-world-" + number, uid_base_));
  group_.emplace(std::move(group));
  TRY(const Fd program, open_own(programs + "/jailrun-spawner", O_PATH));
  TRY(const Fd tools, detach_tools(programs + "/../lib/jailrun"));
  TRY(const Fd shared, share_plan(plan_, host_));
  TRY(Channel keeper, open_channel());
  TRY(Channel zygote, open_channel());
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED)
    return std::unexpected(
        sys_error(Stage::Clone, "memory", "cannot map a page", "free some memory"));
  report_.reset(static_cast<child::Report*>(page));

  child::KeeperArgs args{};
  args.base.plan = &plan_;
  args.base.host = &host_;
  args.base.report = report_.get();
  args.base.control_fd = args.base.gate_fd = keeper.child.get();
  args.base.owner_control_fd = keeper.owner.get();
  args.base.hostname = "jailrun";
  args.base.workdir = "/data";
  args.tools_fd = tools.get();
  args.program_fd = program.get();
  args.plan_fd = shared.get();
  args.zygote_fd = zygote.child.get();
  args.log_fd = stderr_fd;
  std::vector<char*> environment;
  for (std::uint32_t at = 0, i = 0; i < plan_.env_count; ++i) {
    environment.push_back(plan_.env.data() + at);
    at += static_cast<std::uint32_t>(std::strlen(plan_.env.data() + at)) + 1;
  }
  environment.push_back(nullptr);
  args.envp = environment.data();
  TRY_VOID(clone_keeper(args, image, run_dir));
  keeper_ = std::move(keeper.owner);
  zygote_ = std::move(zygote.owner);
  TRY_VOID(map_block(keeper_pid_, uid_base_));
  if (::send(keeper_.get(), "g", 1, MSG_NOSIGNAL) != 1)
    return std::unexpected(child_error(*report_, "keeper"));
  return {};
}

Expected<void> World::clone_keeper(child::KeeperArgs& args, const Fd& image, const Fd& run_dir) {
  const bool root = ::geteuid() == 0;
  const Fd network = root ? open_null_network(run_dir) : make_null_network(uid_base_);
  if (!network.valid()) {
    return std::unexpected(sys_error(Stage::JoinNetwork, "null network",
                                     "cannot make the null network namespace",
                                     "see `jailrun doctor`"));
  }
  TRY(const InNetwork inside, InNetwork::enter(network, !root));
  struct stat st{};
  ::fstat(network.get(), &st);
  network_inode_ = st.st_ino;
  // The keeper is born in the image's directory: that is how it finds it in its own mount
  // namespace.
  const Fd home(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  int pidfd = -1;
  uapi::clone_args clone{};
  clone.flags = uapi::kCloneNewuser | uapi::kCloneNewpid | uapi::kCloneNewns | uapi::kCloneNewipc |
                uapi::kCloneNewuts | uapi::kClonePidfd | uapi::kCloneIntoCgroup;
  clone.pidfd = reinterpret_cast<std::uint64_t>(&pidfd);
  clone.exit_signal = SIGCHLD;
  clone.cgroup = static_cast<std::uint64_t>(group_->keeper_fd());
  if (::fchdir(image.get()) != 0)
    return std::unexpected(
        sys_error(Stage::Clone, "image", "cannot enter the image", "build it again"));
  const long child = ::syscall(SYS_clone3, &clone, sizeof clone);
  if (child == 0) child::keeper_main(&args);
  const int error = errno;
  if (home.valid() && ::fchdir(home.get()) != 0) {
    // The directory is gone: stay in the image, which nobody can write to.
  }
  if (child < 0) {
    return std::unexpected(Error{Stage::Clone, "namespaces", error,
                                 "cannot create the namespaces of a warm world",
                                 "run `jailrun doctor` to see what this host allows"});
  }
  keeper_pidfd_ = Fd(pidfd);
  keeper_pid_ = static_cast<pid_t>(child);
  keepers_ = namespaces_of_process(keeper_pid_);  // it was born with them
  return {};
}

void World::Unmap::operator()(child::Report* page) const { ::munmap(page, 4096); }

World::~World() {
  if (!keeper_pidfd_.valid()) return;
  // Pid 1 of the namespace in which everything lives.
  ::syscall(SYS_pidfd_send_signal, keeper_pidfd_.get(), SIGKILL, nullptr, 0);
  while (::waitpid(keeper_pid_, nullptr, 0) < 0 && errno != ECHILD) {
  }
}

Expected<bool> World::zygote_ready(std::string& report) {
  char text[512];
  const ssize_t n = ::recv(zygote_.get(), text, sizeof text, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0) {
    if (report_->error_stage != 0) return std::unexpected(child_error(*report_, "keeper"));
    return std::unexpected(
        Error{Stage::Spawn, "zygote", 0,
              "the zygote of policy " + std::string(plan_.policy) + " ended before it was ready",
              "its own words are in the log; `jailrun run --cold` still works"});
  }
  report.assign(text, static_cast<std::size_t>(n));
  return true;
}

Expected<std::optional<Ended>> World::next_ended() {
  for (;;) {
    child::KeeperEvent event{};
    const ssize_t n = ::recv(keeper_.get(), &event, sizeof event, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return std::nullopt;
    if (n != sizeof event) {
      if (report_->error_stage != 0) return std::unexpected(child_error(*report_, "keeper"));
      return std::unexpected(Error{Stage::Run, "keeper", 0,
                                   "the keeper of policy " + std::string(plan_.policy) +
                                       " is dead, and all its jails with it",
                                   "a new one is started"});
    }
    if (event.status == -1 && zygote_pid_ == 0) {
      zygote_pid_ = event.pid;
      continue;
    }
    return Ended{event.pid, event.status};
  }
}

void World::retire_zygote() { ::shutdown(zygote_.get(), SHUT_WR); }

std::optional<std::uint32_t> World::take_uid() {
  for (std::uint32_t i = 1; i < kWorldUids; ++i) {
    if (!uid_used_[i]) {
      uid_used_[i] = true;
      return uid_base_ + i;
    }
  }
  return std::nullopt;
}

}  // namespace jailrun
