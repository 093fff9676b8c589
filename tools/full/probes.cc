#include "tools/full/probes.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include "jail/sys/error.h"
#include "jail/sys/fd.h"
#include "jail/sys/landlock.h"
#include "jail/sys/uapi.h"
#include "tools/full/probe_child.h"

namespace jailrun::full {
namespace {

void add(Mechanisms& all, std::string name, const Tried& tried, State otherwise,
         std::string enforces, const std::string& remedy) {
  if (tried.error == 0) {
    all.push_back({std::move(name), State::Ok, std::move(enforces), ""});
  } else if (lacks_user_namespaces(all)) {
    all.push_back({std::move(name), otherwise, std::move(enforces), kSeeUserNamespace});
  } else {
    all.push_back(
        {std::move(name), otherwise, std::move(enforces), errno_name(tried.error) + "; " + remedy});
  }
}

// With what is mounted below it: in a user namespace a tree may not be copied without its mounts.
int open_tree(const char* path) {
  return static_cast<int>(
      syscall(SYS_open_tree, AT_FDCWD, path,
              uapi::kOpenTreeClone | uapi::kOpenTreeCloexec | uapi::kAtRecursive));
}

// A detached file system of `type`, with one option, mounted nowhere.
int new_mount(const char* type, const char* key, const char* value) {
  const Fd context(static_cast<int>(syscall(SYS_fsopen, type, uapi::kFsopenCloexec)));
  if (!context.valid()) return -1;
  if (syscall(SYS_fsconfig, context.get(), uapi::kFsconfigSetString, key, value, 0) != 0) return -1;
  if (syscall(SYS_fsconfig, context.get(), uapi::kFsconfigCmdCreate, nullptr, nullptr, 0) != 0)
    return -1;
  return static_cast<int>(syscall(SYS_fsmount, context.get(), uapi::kFsmountCloexec, 0));
}

int try_new_mount_api(int) {
  const Fd tree(open_tree("/"));
  if (!tree.valid()) return errno;
  uapi::mount_attr attributes{};
  attributes.attr_set = uapi::kMountRdonly | uapi::kMountNosuid | uapi::kMountNodev;
  if (syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) !=
      0)
    return errno;
  const Fd scratch(new_mount("tmpfs", "size", "65536"));
  return scratch.valid() ? 0 : errno;
}

int try_proc(int) {
  const Fd proc(new_mount("proc", "subset", "pid"));
  return proc.valid() ? 0 : errno;
}

// Whether the file system of `path` can be shown under other ids: in the initial user namespace.
int try_idmap(const char* path) {
  const pid_t holder = static_cast<pid_t>(
      syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  if (holder < 0) return errno;
  if (holder == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (true) pause();
  }
  const std::string proc = "/proc/" + std::to_string(holder) + "/";
  write_file_at(AT_FDCWD, (proc + "uid_map").c_str(), "0 1900000000 1");
  write_file_at(AT_FDCWD, (proc + "gid_map").c_str(), "0 1900000000 1");
  const Fd user(open((proc + "ns/user").c_str(), O_RDONLY | O_CLOEXEC));
  const Fd tree(open_tree(path));
  uapi::mount_attr attributes{};
  attributes.attr_set = uapi::kMountIdmap;
  attributes.userns_fd = static_cast<std::uint64_t>(user.get());
  int failed = 0;
  if (!user.valid() || !tree.valid() ||
      syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) !=
          0)
    failed = errno;
  kill(holder, SIGKILL);
  waitpid(holder, nullptr, 0);
  return failed;
}

int try_seccomp(int) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOTUNIQ),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{std::size(code), code};
  const unsigned kill = SECCOMP_RET_KILL_PROCESS;
  if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &kill) != 0) return errno;
  if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) != 0) return errno;
  // That it was accepted is not enough: it has to bite.
  return syscall(SYS_getppid) == -1 && errno == ENOTUNIQ ? 0 : EINVAL;
}

int landlock_restrict(const uapi::landlock_ruleset_attr& attributes, std::size_t size) {
  const Fd rules(static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, size, 0)));
  if (!rules.valid() || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno;
  return syscall(SYS_landlock_restrict_self, rules.get(), 0) == 0 ? 0 : errno;
}

int try_landlock(int) {
  uapi::landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = LANDLOCK_ACCESS_FS_READ_DIR;
  if (const int failed = landlock_restrict(attributes, sizeof attributes.handled_access_fs))
    return failed;
  return open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC) < 0 && errno == EACCES ? 0 : EINVAL;
}

// An abstract socket made outside of the domain must be out of reach inside.
int try_landlock_scope(int) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const int length = std::snprintf(address.sun_path + 1, sizeof address.sun_path - 1,
                                   "jailrun-doctor-%d", static_cast<int>(getpid()));
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
  const auto* where = reinterpret_cast<const sockaddr*>(&address);
  const Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (bind(listener.get(), where, size) != 0 || listen(listener.get(), 1) != 0) return errno;
  constexpr std::uint64_t kScopeAbstract = 1, kScopeSignal = 2;  // Linux 6.12
  uapi::landlock_ruleset_attr attributes{};
  attributes.scoped = kScopeAbstract | kScopeSignal;
  // The listener belongs to this process: the domain has to be a child's.
  const pid_t child = fork();
  if (child < 0) return errno;
  if (child == 0) {
    if (const int failed = landlock_restrict(attributes, sizeof attributes)) _exit(failed);
    const Fd client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    _exit(connect(client.get(), where, size) != 0 && errno == EPERM ? 0 : EINVAL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : ECHILD;
}

int try_pidfd(int) {
  const pid_t child = fork();
  if (child < 0) return errno;
  if (child == 0) {
    while (true) pause();
  }
  const Fd pidfd(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  int failed = pidfd.valid() ? 0 : errno;
  const Fd copy(static_cast<int>(syscall(SYS_pidfd_getfd, pidfd.get(), 0, 0)));
  if (failed == 0 && !copy.valid() && errno != EBADF) failed = errno;  // EBADF: its stdin is closed
  if (failed == 0 && syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0) != 0)
    failed = errno;
  if (failed != 0) kill(child, SIGKILL);
  siginfo_t info{};
  if (failed == 0 &&
      waitid(static_cast<idtype_t>(3), static_cast<id_t>(pidfd.get()), &info, WEXITED) != 0)
    failed = errno;  // idtype 3: P_PIDFD
  if (failed != 0) waitpid(child, nullptr, 0);
  return failed;
}

// Past every descriptor that there can be.
int try_close_range(int) {
  return syscall(SYS_close_range, 0x7ffffff0u, 0x7fffffffu, 0) == 0 ? 0 : errno;
}

// The way that files are taken out of a jail: nothing that leads out is followed.
int try_openat2(int) {
  const Fd root(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const uapi::open_how how{O_PATH | O_CLOEXEC, 0, uapi::kResolveBeneath};
  const Fd above(static_cast<int>(syscall(SYS_openat2, root.get(), "../etc", &how, sizeof how)));
  if (above.valid()) return EINVAL;
  return errno == EXDEV ? 0 : errno;
}

}  // namespace

bool lacks_user_namespaces(const Mechanisms& all) {
  return std::ranges::any_of(all, [](const Mechanism& each) {
    return each.name == "user namespace" && each.state == State::Missing;
  });
}

void probe_kernel(Mechanisms& all) {
  utsname name{};
  uname(&name);
  int major = 0, minor = 0;
  std::sscanf(name.release, "%d.%d", &major, &minor);
  const bool recent = major > 6 || (major == 6 && minor >= 1);
  const bool x86_64 = std::strcmp(name.machine, "x86_64") == 0;
  Mechanism kernel{std::string("kernel ") + name.release, State::Ok, "everything below", ""};
  if (!recent) {
    kernel.state = State::Weak;
    kernel.remedy = "nothing older than 6.1 is tested; install a newer kernel";
  }
  if (!x86_64) {
    kernel.state = State::Missing;
    kernel.remedy = std::string("this is ") + name.machine + "; jailrun supports x86_64 only";
  }
  all.push_back(kernel);
  add(all, "pidfd", try_in_child(try_pidfd), State::Weak,
      "warm jails: signals to exactly the right process (pidfd_open, pidfd_send_signal)",
      "allow the pidfd calls in the sandbox that this runs in; until then jails start cold");
  add(all, "close_range", try_in_child(try_close_range), State::Missing,
      "the guest gets no descriptor but its three streams",
      "kernel 5.9 has it; allow it in the sandbox that this runs in");
  add(all, "openat2", try_in_child(try_openat2), State::Missing,
      "files are taken out of /work without following a link of the guest's",
      "kernel 5.6 has it; allow it in the sandbox that this runs in");
}

void probe_namespaces(Mechanisms& all) {
  const auto nothing = [](int) { return 0; };
  const Tried user = try_in_namespaces(0, nothing);
  add(all, "user namespace", user, State::Missing,
      "the guest's ids mean nothing outside (clone3 CLONE_NEWUSER)",
      user.error == ENOSPC ? "raise the sysctl user.max_user_namespaces"
                           : "allow them: kernel.unprivileged_userns_clone=1, or, where AppArmor "
                             "restricts them, jailrun's profile (share/jailrun/apparmor/jailrun)");
  const struct {
    const char* name;
    unsigned long flag;
    const char* enforces;
  } kinds[] = {
      {"pid namespace", CLONE_NEWPID, "the guest sees and signals its own processes only"},
      {"mount namespace", CLONE_NEWNS, "the guest sees the image and its inputs, no host file"},
      {"ipc namespace", CLONE_NEWIPC, "no System V or POSIX queue of the host"},
      {"uts namespace", CLONE_NEWUTS, "no host name of the host"},
      {"cgroup namespace", CLONE_NEWCGROUP, "no cgroup path of the host"},
      {"network namespace", CLONE_NEWNET, "no interface, address or abstract socket of the host"},
  };
  for (const auto& kind : kinds) {
    const char* which = std::strchr(kind.name, ' ');
    const std::string limit = std::string(kind.name, static_cast<std::size_t>(which - kind.name));
    add(all, kind.name, try_in_namespaces(kind.flag, nothing), State::Missing, kind.enforces,
        "raise user.max_" +
            (limit == "mount"     ? std::string("mnt")
             : limit == "network" ? "net"
                                  : limit) +
            "_namespaces");
  }
}

void probe_mounts(Mechanisms& all) {
  add(all, "mount API", try_in_namespaces(CLONE_NEWNS, try_new_mount_api), State::Missing,
      "read-only image and capped tmpfs, by descriptor (open_tree, mount_setattr, fsmount)",
      "allow the mount calls in the sandbox that this runs in, or run outside of it");
  add(all, "proc mount", try_in_namespaces(CLONE_NEWNS | CLONE_NEWPID, try_proc), State::Missing,
      "/proc of the jail shows the jail only (fsopen proc, subset=pid)",
      "/proc is masked, as in a container: run outside of it, or have it unmasked (podman run "
      "--security-opt unmask=ALL)");
  const Tried idmap = try_in_child([](int) { return try_idmap("."); });
  add(all, "id-mapped mounts", idmap, State::Weak,
      "inputs that only you may read, without a copy (mount_setattr IDMAP, on this directory)",
      "such inputs are copied here, up to 64 MiB each; keep larger ones readable by all or on "
      "ext4, xfs "
      "or btrfs");
}

void probe_filters(Mechanisms& all) {
  add(all, "seccomp filter", try_in_child(try_seccomp), State::Missing,
      "system calls by allow-list; the red list kills (SECCOMP_SET_MODE_FILTER)",
      "build the kernel with CONFIG_SECCOMP_FILTER");
  const int abi = landlock_abi();
  const std::string name = abi > 0 ? "Landlock ABI " + std::to_string(abi) : "Landlock";
  add(all, name, try_in_child(try_landlock), State::Weak,
      "a second wall for files, behind the mount namespace (landlock_restrict_self)",
      "add landlock to the lsm= boot parameter; until then the mount namespace stands alone");
  add(all, "Landlock scopes", try_in_child(try_landlock_scope), State::Weak,
      "jails without a network share one empty network namespace (scoped sockets, signals)",
      "kernel 6.12 has them; until then each jail makes its own network namespace, about 0.5 ms");
}

}  // namespace jailrun::full
