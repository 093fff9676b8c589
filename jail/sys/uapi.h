// Kernel constants and structs that the headers of Debian 12 lack or that clash between libc and
// kernel headers. Values are the kernel's ABI, x86-64; each group names the kernel that brought it.
#pragma once

#include <cstdint>

namespace jailrun::uapi {

// Mount API (5.2, mount_setattr 5.12).
inline constexpr unsigned kOpenTreeClone = 1, kOpenTreeCloexec = 02000000;
inline constexpr unsigned kFsopenCloexec = 1, kFsmountCloexec = 1;
inline constexpr unsigned kFsconfigSetString = 1, kFsconfigCmdCreate = 6;
inline constexpr unsigned kMoveMountFromEmptyPath = 0x04, kMoveMountToEmptyPath = 0x40;
inline constexpr std::uint64_t kMountRdonly = 0x01, kMountNosuid = 0x02, kMountNodev = 0x04,
                               kMountNoexec = 0x08, kMountNosymfollow = 0x200000,
                               kMountIdmap = 0x100000;
inline constexpr std::uint64_t kMsPrivate = 1u << 18;
inline constexpr unsigned kMntDetach = 2;
inline constexpr int kAtFdcwd = -100, kAtEmptyPath = 0x1000, kAtRecursive = 0x8000;

struct mount_attr {
  std::uint64_t attr_set, attr_clr, propagation, userns_fd;
};

// clone3 (5.3; into_cgroup 5.7).
struct clone_args {
  std::uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
      set_tid_size, cgroup;
};
inline constexpr std::uint64_t kCloneVm = 0x100, kCloneVfork = 0x4000, kCloneParent = 0x8000,
                               kCloneChildCleartid = 0x200000, kCloneChildSettid = 0x1000000,
                               kClonePidfd = 0x1000, kCloneNewns = 0x20000,
                               kCloneNewcgroup = 0x2000000, kCloneNewuts = 0x4000000,
                               kCloneNewipc = 0x8000000, kCloneNewuser = 0x10000000,
                               kCloneNewpid = 0x20000000, kCloneNewnet = 0x40000000,
                               kCloneIntoCgroup = 0x200000000ULL;

// Landlock (5.13; net 6.7, scopes 6.12).
struct landlock_ruleset_attr {
  std::uint64_t handled_access_fs, handled_access_net, scoped;
};
struct [[gnu::packed]] landlock_path_beneath_attr {
  std::uint64_t allowed_access;
  std::int32_t parent_fd;
};
inline constexpr int kLandlockRulePathBeneath = 1;

// openat2 (5.6).
struct open_how {
  std::uint64_t flags, mode, resolve;
};
inline constexpr std::uint64_t kResolveNoXdev = 1, kResolveNoMagiclinks = 2, kResolveNoSymlinks = 4,
                               kResolveBeneath = 8, kResolveInRoot = 16;

// Namespace files.
inline constexpr long kNsfsMagic = 0x6e736673, kCgroup2Magic = 0x63677270, kTmpfsMagic = 0x01021994;
inline constexpr unsigned long kNsGetNstype = 0xb703;

}  // namespace jailrun::uapi
