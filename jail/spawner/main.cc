// jailrun-spawner: the keeper of a world. Pid 1 of a pid namespace and root of a user namespace
// that has no right on the host; started by the pool, called by nobody. Builds slots on order,
// starts the zygote, reaps, and tells the owner what ended. With it dies everything in its pid
// namespace.
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>

#include "jail/child/orders.h"
#include "jail/sys/uapi.h"

extern char** environ;

namespace jailrun {
namespace {

using namespace child;

// Of one slot alone: a byte that a killed init left unread would let the next one through.
struct Gate {
  int ends[2] = {-1, -1};
  Gate() {
    if (::pipe2(ends, O_CLOEXEC) != 0) ends[0] = ends[1] = -1;
  }
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;
  ~Gate() {
    ::close(ends[0]);
    ::close(ends[1]);
  }
};

[[noreturn]] void stop(const char* what) {
  std::fprintf(stderr, "jailrun-spawner: cannot %s: %s\n", what, strerrordesc_np(errno));
  std::_Exit(1);
}

void tell(pid_t pid, int status) {
  const KeeperEvent event{pid, status};
  if (::send(kKeeperSocket, &event, sizeof event, MSG_NOSIGNAL) != sizeof event) std::_Exit(0);
}

pid_t start_zygote() {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, kZygoteSocket, kKeeperSocket);
  ::posix_spawn_file_actions_adddup2(&actions, kKeeperPlan, kKeeperPlan);  // without CLOEXEC
  ::posix_spawn_file_actions_addclosefrom_np(&actions, kKeeperPlan + 1);
  ::posix_spawn_file_actions_addchdir_np(&actions, "/");
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  // Not as a script: Python keeps a script's file open, on a number that a guest's pipe will have.
  const std::string dir = kZygoteDir;
  std::string code = "import sys; sys.path[0] = '" + dir + "'; __file__ = '" + dir +
                     "/zygote.py'; " +
                     "exec(compile(open(__file__, 'rb').read(), __file__, 'exec'))";
  char python[] = "/usr/bin/python3", option[] = "-c";
  char* const argv[] = {python, option, code.data(), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, python, &actions, &attributes, argv, environ);
  if (error != 0) {
    errno = error;
    stop("start the zygote");
  }
  ::close(kZygoteSocket);
  return pid;
}

void write_maps(pid_t child, std::uint32_t uid) {
  const std::string line = std::to_string(kGuestUid) + " " + std::to_string(uid) + " 1\n";
  for (const char* name : {"gid_map", "uid_map"}) {
    const std::string path = "/proc/" + std::to_string(child) + "/" + name;
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    const bool written =
        fd >= 0 && ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
    ::close(fd);
    if (!written) return;  // the gate stays closed
  }
}

bool maps_written(pid_t child) {
  char byte = 0;
  const std::string path = "/proc/" + std::to_string(child) + "/uid_map";
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool written = ::read(fd, &byte, 1) == 1;
  ::close(fd);
  return written;
}

// argv and environment lie in one block; a slot's init clears its copy.
struct Block {
  char *begin, *end;
} own_block;

// The owner sees a failure as the end of the control channel, and its cause in the Reports: init's
// own words first.
void fail_slot(Reports* reports, Stage stage, int error) {
  if (__atomic_load_n(&reports->init.error_stage, __ATOMIC_ACQUIRE) != 0) return;
  reports->init.error_errno = error;
  reports->init.error_stage = static_cast<std::uint32_t>(stage);
}

void build_slot(const WarmPlan& plan, const SlotOrder& order, const int* fds, unsigned count) {
  void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fds[kSlotReports], 0);
  if (page == MAP_FAILED) return;
  auto* reports = static_cast<Reports*>(page);
  ChildArgs args{};
  args.report = &reports->init;
  args.plan = &plan.plan;
  args.host = &plan.host;
  args.control_fd = fds[kSlotControl];
  args.owner_control_fd = -1;
  const Gate gate;
  args.gate_fd = gate.ends[0];
  args.task_files = fds + kSlotTasks;
  args.task_file_count = count - kSlotTasks;
  args.uid = kGuestUid;
  args.hostname = "jail";
  args.wipe_begin = own_block.begin;
  args.wipe_end = own_block.end;
  args.fail_at = order.fail_at;
  args.workdir = "/work";

  uapi::clone_args clone{};
  clone.flags = uapi::kCloneNewuser | uapi::kCloneNewpid | uapi::kCloneNewns | uapi::kCloneNewipc |
                uapi::kCloneNewuts | uapi::kCloneIntoCgroup;
  clone.exit_signal = SIGCHLD;
  clone.cgroup = static_cast<std::uint64_t>(fds[kSlotLeaf]);
  errno = EIO;
  const long child =
      order.fail_at == Stage::Clone ? -1 : ::syscall(SYS_clone3, &clone, sizeof clone);
  if (child == 0) slot_main(&args);
  if (child < 0) {
    fail_slot(reports, Stage::Clone, errno);
  } else {
    if (order.fail_at != Stage::MapIds) write_maps(static_cast<pid_t>(child), order.uid);
    errno = EIO;
    if (maps_written(static_cast<pid_t>(child)) && ::write(gate.ends[1], "g", 1) == 1) {
      // Init goes on by itself.
    } else {
      fail_slot(reports, Stage::MapIds, errno);
      ::kill(static_cast<pid_t>(child), SIGKILL);
    }
  }
  ::munmap(page, 4096);
}

// False: the owner is gone.
bool serve(const WarmPlan& plan) {
  SlotOrder order{};
  iovec part{&order, sizeof order};
  alignas(cmsghdr) char buffer[CMSG_SPACE(sizeof(int) * kMaxOrderFds)];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = buffer;
  header.msg_controllen = sizeof buffer;
  const ssize_t n = ::recvmsg(kKeeperSocket, &header, MSG_CMSG_CLOEXEC);
  if (n <= 0) return n < 0 && errno == EINTR;
  const cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (rights == nullptr || n != sizeof order) return true;
  const auto count = static_cast<unsigned>((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
  int fds[kMaxOrderFds];
  std::memcpy(fds, CMSG_DATA(rights), count * sizeof(int));
  if (count >= kSlotTasks) build_slot(plan, order, fds, count);
  for (unsigned i = 0; i < count; ++i) ::close(fds[i]);
  return true;
}

// To the last one: nobody wakes us for those that were left.
void reap() {
  int status = 0;
  for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG | __WALL)) != 0;) {
    if (pid > 0) tell(pid, status);
    if (pid < 0 && errno == ECHILD) return;
  }
}

}  // namespace
}  // namespace jailrun

int main(int, char** argv) {
  using namespace jailrun;
  for (const int fd : {child::kKeeperSocket, child::kKeeperPlan, child::kZygoteSocket})
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  const void* mapped =
      ::mmap(nullptr, sizeof(child::WarmPlan), PROT_READ, MAP_SHARED, child::kKeeperPlan, 0);
  struct stat st{};
  if (mapped == MAP_FAILED || ::fstat(child::kKeeperPlan, &st) != 0) stop("map the plan");
  const auto& plan = *static_cast<const child::WarmPlan*>(mapped);
  if (st.st_size != sizeof plan || plan.plan.version != Plan::kVersion) {
    std::fputs("jailrun-spawner: of another version than its owner; install one build\n", stderr);
    return 1;
  }
  own_block = {argv[0], argv[0] + std::strlen(argv[0])};
  for (char** variable = environ; *variable != nullptr; ++variable)
    own_block.end = std::max(own_block.end, *variable + std::strlen(*variable));
  if (::chdir("/data") != 0) stop("enter the image");
  tell(start_zygote(), -1);
  ::close(child::kKeeperPlan);
  // Unblocked it is never told, and no jail would end. After the zygote's start, which plays with
  // the mask; what has ended by then is reaped at once.
  sigset_t signals;
  ::sigemptyset(&signals);
  ::sigaddset(&signals, SIGCHLD);
  if (::sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) stop("block SIGCHLD");
  const int ended = ::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (ended < 0) stop("watch its children");
  reap();
  for (;;) {
    pollfd entries[2] = {{child::kKeeperSocket, POLLIN, 0}, {ended, POLLIN, 0}};
    if (::poll(entries, 2, -1) < 0) continue;
    if (entries[1].revents != 0) {
      signalfd_siginfo ignored;
      while (::read(ended, &ignored, sizeof ignored) > 0) {
      }
      reap();
    }
    if (entries[0].revents != 0 && !serve(plan)) return 0;
  }
}
