#include "jail/confine/net.h"

#include <dirent.h>
#include <net/if.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "jail/confine/ids.h"
#include "jail/sys/uapi.h"

namespace jailrun {
namespace {

constexpr const char* kName = "net.null";

bool is_network(const Fd& fd) {
  struct statfs fs{};
  return fd.valid() && ::fstatfs(fd.get(), &fs) == 0 && fs.f_type == uapi::kNsfsMagic &&
         ::ioctl(fd.get(), uapi::kNsGetNstype) == CLONE_NEWNET;
}

// True if the calling thread's network namespace has no interface but lo, and lo is down.
bool is_empty_network() {
  const std::string table = read_file_at(AT_FDCWD, "/proc/thread-self/net/dev");
  std::size_t lines = 0;
  for (const char c : table) lines += c == '\n' ? 1 : 0;
  if (lines != 3 || table.find(" lo:") == std::string::npos) return false;
  const Fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::strcpy(request.ifr_name, "lo");
  return ::ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) == 0;
}

// Who shares the namespace would read its neighbours' sockets and their paths in /proc/self/net.
// The files belong to the namespace, so their mode, changed once, holds in every mount of proc.
bool close_tables() {
  const Fd dir(::open("/proc/thread-self/net", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  alignas(8) char buffer[8192];
  bool done = dir.valid();
  for (ssize_t n; done && (n = ::getdents64(dir.get(), buffer, sizeof buffer)) > 0;) {
    for (ssize_t at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
      at += entry->d_reclen;
      if (entry->d_name[0] == '.') continue;
      done = ::fchmodat(dir.get(), entry->d_name, entry->d_type == DT_DIR ? 0500 : 0400, 0) == 0 &&
             done;
    }
  }
  return done;
}

// Makes the namespace in a short-lived child and pins it on `path`.
bool pin_new_network(const char* path) {
  const pid_t child = ::fork();
  if (child == 0) {
    const bool done = ::unshare(CLONE_NEWNET) == 0 && is_empty_network() && close_tables() &&
                      ::mount("/proc/thread-self/ns/net", path, nullptr, MS_BIND, nullptr) == 0;
    ::_exit(done ? 0 : 1);
  }
  int status = 1;
  while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return child > 0 && status == 0;
}

}  // namespace

Fd open_null_network(const Fd& run_dir) {
  if (::geteuid() != 0) return {};
  Fd network(::openat(run_dir.get(), kName, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (is_network(network)) return network;
  // One maker at a time; whoever waited finds it made.
  const Fd lock(
      ::openat(run_dir.get(), "net.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock.valid() || ::flock(lock.get(), LOCK_EX) != 0) return {};
  network = Fd(::openat(run_dir.get(), kName, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (is_network(network)) return network;
  const std::string path = "/proc/self/fd/" + std::to_string(run_dir.get()) + "/" + kName;
  if (!network.valid() || !pin_new_network(path.c_str())) return {};
  network = Fd(::openat(run_dir.get(), kName, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  return is_network(network) ? std::move(network) : Fd();
}

Fd make_null_network(std::uint32_t block) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return {};
  Fd ours(ends[0]), theirs(ends[1]);
  const auto heard = [](const Fd& from) {
    char byte = 0;
    return ::recv(from.get(), &byte, 1, 0) == 1;
  };
  const auto tell = [](const Fd& to) { return ::send(to.get(), "", 1, MSG_NOSIGNAL) == 1; };
  const pid_t child = ::fork();
  if (child == 0) {
    ours.reset();
    // The tables take their owner from the map at birth: the map comes first.
    const bool done = ::unshare(CLONE_NEWUSER) == 0 && tell(theirs) && heard(theirs) &&
                      ::setresgid(0, 0, 0) == 0 && ::setresuid(0, 0, 0) == 0 &&
                      ::unshare(CLONE_NEWNET) == 0 && close_tables() && tell(theirs) &&
                      !heard(theirs);
    ::_exit(done ? 0 : 1);
  }
  theirs.reset();
  Fd network;
  if (child > 0 && heard(ours) && map_block(child, block) && tell(ours) && heard(ours)) {
    const std::string path = "/proc/" + std::to_string(child) + "/ns/net";
    network = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }
  ours.reset();
  const int error = errno;
  while (child > 0 && ::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  errno = error;
  return is_network(network) ? std::move(network) : Fd();
}

Expected<InNetwork> InNetwork::enter(const Fd& network, bool just_made) {
  Fd home(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!home.valid() || ::setns(network.get(), CLONE_NEWNET) != 0) {
    return std::unexpected(
        sys_error(Stage::JoinNetwork, "null network", "cannot enter the null network namespace",
                  "unmount and remove net.null in the run directory; it will be made again"));
  }
  InNetwork inside(std::move(home));
  errno = 0;
  if (!just_made && !is_empty_network()) {
    return std::unexpected(
        Error{Stage::JoinNetwork, "null network", errno,
              "the null network namespace is not empty: somebody has put an interface there",
              "unmount and remove net.null in the run directory; it will be made again"});
  }
  return inside;
}

InNetwork::~InNetwork() {
  if (!home_.valid() || ::setns(home_.get(), CLONE_NEWNET) == 0) return;
  // Without the way home the process would go on in the wrong network: nothing sound can follow,
  // and nobody else can say why.
  constexpr std::string_view kWhy =
      "jailrun: cannot go back from the null network namespace to its own; try again\n";
  (void)!::write(STDERR_FILENO, kWhy.data(), kWhy.size());
  ::_exit(125);
}

}  // namespace jailrun
