#include "tests/without/features.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "jail/sys/uapi.h"

namespace without {
namespace {

// Bytes of the caller's memory; zeros where there are none.
template <std::size_t N>
void fetch(const Call& call, std::uint64_t address, char (&bytes)[N]) {
  std::memset(bytes, 0, N);
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/mem", call.pid);
  const int memory = ::open(path, O_RDONLY | O_CLOEXEC);
  if (memory >= 0 && ::pread(memory, bytes, N, static_cast<off_t>(address)) < 0) bytes[0] = 0;
  ::close(memory);
}

std::uint64_t fetch_word(const Call& call, std::uint64_t address) {
  char bytes[8];
  fetch(call, address, bytes);
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

template <long Answer>
long always(const Call&) {
  return Answer;
}

// A kernel that knows a shorter clone_args refuses a longer one with anything in it.
long clone_into_cgroup(const Call& call) {
  return (fetch_word(call, call.args[0]) & jailrun::uapi::kCloneIntoCgroup) != 0 ? -E2BIG : kGoOn;
}

long clone_new_user(const Call& call) {
  return (fetch_word(call, call.args[0]) & CLONE_NEWUSER) != 0 ? -ENOSPC : kGoOn;
}

long proc_option(const Call& call) {
  char key[8];
  fetch(call, call.args[2], key);
  return std::string_view(key, 7) == std::string_view("subset\0", 7) ? -EINVAL : kGoOn;
}

long opens_cgroup_kill(const Call& call) {
  if ((call.args[2] & O_ACCMODE) != O_WRONLY) return kGoOn;
  char path[16];
  fetch(call, call.args[1], path);
  return std::string_view(path, 12) == std::string_view("cgroup.kill\0", 12) ? -ENOENT : kGoOn;
}

// ABI 5: what kernel 6.10 knows.
long landlock_of_abi_5(const Call& call) {
  if (call.args[0] == 0 && call.args[2] == 1) return 5;
  return call.args[1] > 16 ? -E2BIG : kGoOn;
}

long idmap(const Call& call) {
  return (fetch_word(call, call.args[3]) & jailrun::uapi::kMountIdmap) != 0 ? -EINVAL : kGoOn;
}

}  // namespace

const Feature kFeatures[] = {
    {"user_namespaces", SYS_clone3, clone_new_user},
    {"clone3", SYS_clone3, always<-ENOSYS>},
    {"clone_into_cgroup", SYS_clone3, clone_into_cgroup},
    {"pidfd_send_signal", SYS_pidfd_send_signal, always<-ENOSYS>},
    {"open_tree", SYS_open_tree, always<-ENOSYS>},
    {"fsopen", SYS_fsopen, always<-ENOSYS>},
    {"mount_setattr", SYS_mount_setattr, always<-ENOSYS>},
    {"idmap", SYS_mount_setattr, idmap},
    {"proc_subset", SYS_fsconfig, proc_option},
    {"close_range", SYS_close_range, always<-ENOSYS>},
    {"openat2", SYS_openat2, always<-ENOSYS>},
    {"seccomp", SYS_seccomp, always<-ENOSYS>},
    {"cgroup_kill", SYS_openat, opens_cgroup_kill},
    {"landlock", SYS_landlock_create_ruleset, always<-EOPNOTSUPP>},
    {"landlock_scopes", SYS_landlock_create_ruleset, landlock_of_abi_5},
    {nullptr, 0, nullptr},
};

}  // namespace without
