#include "jail/run/collector.h"

#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <csignal>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <iterator>

#include "jail/sys/uapi.h"

namespace jailrun {
namespace {

constexpr std::uint32_t kMaxDepth = 64;

struct Directory {
  int fd;
  long filled, at;           // of the buffer
  std::uint32_t path_bytes;  // of the directory's own path
  alignas(8) char buffer[8192];
};

// Static: no allocation beside hostile data, and none is allowed by the filter.
Directory stack[kMaxDepth];
FoundMessage message;

bool drop_rights(std::uint32_t uid) {
  if (::geteuid() != uid) {
    if (::setgroups(0, nullptr) != 0 || ::setresgid(uid, uid, uid) != 0 ||
        ::setresuid(uid, uid, uid) != 0)
      return false;
  }
  // Leaving uid 0 took them; a plain user's owner has them without being 0.
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[2] = {};
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 ||
      ::syscall(SYS_capset, &header, none) != 0)
    return false;
  // After the change of ids, which resets it. A dead owner shows as end of file on the socket.
  return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_DUMPABLE, 0) == 0;
}

bool install_filter() {
  constexpr std::uint32_t kAllowed[] = {SYS_openat2, SYS_getdents64, SYS_newfstatat, SYS_fstat,
                                        SYS_close,   SYS_sendmsg,    SYS_exit_group};
  constexpr std::size_t kCalls = std::size(kAllowed);
  sock_filter program[kCalls + 6];
  std::size_t n = 0;
  program[n++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch));
  program[n++] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
  program[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  program[n++] = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  for (std::size_t i = 0; i < kCalls; ++i) {
    // To the last instruction; x32 numbers equal none of these.
    program[n++] =
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kAllowed[i], static_cast<unsigned char>(kCalls - i), 0);
  }
  program[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  program[n++] = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const sock_fprog filter{static_cast<unsigned short>(n), program};
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0;
}

int open_below(int dir, const char* name, std::uint64_t flags) {
  const uapi::open_how how{flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0,
                           uapi::kResolveBeneath | uapi::kResolveNoSymlinks | uapi::kResolveNoXdev |
                               uapi::kResolveNoMagiclinks};
  return static_cast<int>(::syscall(SYS_openat2, dir, name, &how, sizeof how));
}

void report(int socket, Found found, int fd) {
  message.found = found;
  iovec part{&message, offsetof(FoundMessage, path) + message.path_bytes};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  while (::syscall(SYS_sendmsg, socket, &header, MSG_NOSIGNAL) < 0)
    if (errno != EINTR) ::syscall(SYS_exit_group, 1);
}

// Appends NAME to the path of `dir`; false where it becomes too long.
bool set_path(const Directory& dir, const char* name) {
  const std::size_t length = std::strlen(name);
  std::uint32_t at = dir.path_bytes;
  if (at + length + 2 > sizeof message.path) return false;
  if (at > 0) message.path[at++] = '/';
  std::memcpy(message.path + at, name, length);
  message.path_bytes = at + static_cast<std::uint32_t>(length);
  return true;
}

// One entry; the depth to go on with.
std::uint32_t visit(int socket, std::uint32_t depth, const char* name, CollectorLimits limits) {
  Directory& dir = stack[depth];
  if (!set_path(dir, name)) {
    report(socket, Found::TooDeep, -1);
    return depth;
  }
  struct stat st{};
  if (::fstatat(dir.fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {  // a directory without its x bit
    report(socket, Found::Unreadable, -1);
    return depth;
  }
  if (S_ISREG(st.st_mode)) {
    const int file = open_below(dir.fd, name, O_RDONLY);
    report(socket, file < 0 ? Found::Unreadable : Found::File, file);
    if (file >= 0) ::close(file);
    return depth;
  }
  if (!S_ISDIR(st.st_mode)) {
    report(socket, Found::NotRegular, -1);
    return depth;
  }
  if (depth + 1 >= limits.depth || depth + 1 >= kMaxDepth) {
    report(socket, Found::TooDeep, -1);
    return depth;
  }
  const int fd = open_below(dir.fd, name, O_RDONLY | O_DIRECTORY);
  if (fd < 0) {
    report(socket, Found::Unreadable, -1);
    return depth;
  }
  Directory& next = stack[depth + 1];
  next.fd = fd;
  next.filled = next.at = 0;
  next.path_bytes = message.path_bytes;
  return depth + 1;
}

// getdents64's record: inode and offset (8 bytes each), length (2), type (1), then the name.
constexpr std::size_t kDirentLength = 16, kDirentName = 19;

void walk(int work, int socket, CollectorLimits limits) {
  std::uint32_t depth = 0, entries = 0;
  stack[0].fd = work;
  for (;;) {
    Directory& dir = stack[depth];
    if (dir.at >= dir.filled) {
      dir.filled = ::syscall(SYS_getdents64, dir.fd, dir.buffer, sizeof dir.buffer);
      dir.at = 0;
      message.path_bytes = dir.path_bytes;
      if (dir.filled < 0) report(socket, Found::Unreadable, -1);
      if (dir.filled <= 0) {
        if (depth == 0) return;
        ::close(dir.fd);
        --depth;
        continue;
      }
    }
    const char* name = dir.buffer + dir.at + kDirentName;
    std::uint16_t length = 0;
    std::memcpy(&length, dir.buffer + dir.at + kDirentLength, sizeof length);
    dir.at += length;
    if (std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0) continue;
    if (++entries > limits.entries) {
      set_path(dir, name);
      report(socket, Found::TooMany, -1);
      return;
    }
    // message.path still begins with this directory's own path: deeper levels only appended to it.
    depth = visit(socket, depth, name, limits);
  }
}

}  // namespace

void collector_main(int work, int socket, std::uint32_t host_uid, CollectorLimits limits) {
  // Low numbers for the two that stay, everything else goes.
  work = ::fcntl(work, F_DUPFD, 10);
  socket = ::fcntl(socket, F_DUPFD, 10);
  if (::dup2(work, 3) < 0 || ::dup2(socket, 4) < 0) ::_exit(1);
  ::syscall(SYS_close_range, 5, ~0U, 0);
  ::syscall(SYS_close_range, 0, 2, 0);
  // The held descriptor of the mount is an O_PATH one: a directory can be read only when opened.
  const int root = ::openat(3, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root < 0 || !drop_rights(host_uid)) ::_exit(1);
  if (::syscall(SYS_openat2, -1, "", nullptr, 0) < 0 && errno == ENOSYS) ::_exit(kNoOpenat2);
  if (!install_filter()) ::_exit(1);
  walk(root, 4, limits);
  message.path_bytes = 0;
  report(4, Found::End, -1);
  ::syscall(SYS_exit_group, 0);
  __builtin_unreachable();
}

}  // namespace jailrun
