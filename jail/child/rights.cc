// Giving up rights: capabilities and Landlock.
#include "jail/child/steps.h"
#include "jail/sys/uapi.h"

namespace jailrun::child {
namespace {

constexpr long kFilterMode = 1;  // SECCOMP_SET_MODE_FILTER
constexpr long kOPath = 010000000, kOCloexec = 02000000;

void allow_beneath(const ChildArgs* args, long ruleset, const char* path, std::uint64_t access,
                   unsigned index) {
  const long fd =
      must(args, Stage::RestrictPaths, sys(SYS_open, ptr(path), kOPath | kOCloexec), index);
  const uapi::landlock_path_beneath_attr rule{access, static_cast<std::int32_t>(fd)};
  must(args, Stage::RestrictPaths,
       sys(SYS_landlock_add_rule, ruleset, uapi::kLandlockRulePathBeneath, ptr(&rule), 0), index);
  sys(SYS_close, fd);
}

}  // namespace

void drop_capabilities(const ChildArgs* args) {
  begin(args, Stage::DropCapabilities);
  for (unsigned capability = 0; capability <= args->host->last_capability; ++capability) {
    must(args, Stage::DropCapabilities, sys(SYS_prctl, PR_CAPBSET_DROP, capability), capability);
  }
  must(args, Stage::DropCapabilities, sys(SYS_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL),
       100);
  struct {
    std::uint32_t version;
    std::int32_t pid;
  } header{0x20080522, 0};
  const std::uint32_t none[6] = {};
  must(args, Stage::DropCapabilities, sys(SYS_capset, ptr(&header), ptr(none)), 101);
  end(args, Stage::DropCapabilities);
}

void no_new_privs(const ChildArgs* args) {
  begin(args, Stage::NoNewPrivs);
  must(args, Stage::NoNewPrivs, sys(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1));
  end(args, Stage::NoNewPrivs);
}

void filter_syscalls(const ChildArgs* args) {
  begin(args, Stage::FilterSyscalls);
  const sock_fprog filter{static_cast<unsigned short>(args->plan->filter_length),
                          const_cast<sock_filter*>(args->plan->filter.data())};
  must(args, Stage::FilterSyscalls, sys(SYS_seccomp, kFilterMode, 0, ptr(&filter)));
  end(args, Stage::FilterSyscalls);
}

void restrict_paths(const ChildArgs* args) {
  begin(args, Stage::RestrictPaths);
  const LandlockPlan& plan = args->plan->landlock;
  if (plan.abi > 0) {
    const uapi::landlock_ruleset_attr attr{plan.handled_fs, plan.handled_net, plan.scoped};
    // Older kernels know a shorter struct and refuse a longer one even if the rest is zero-sized
    // for them.
    const long size = plan.abi >= 6 ? 24 : plan.abi >= 4 ? 16 : 8;
    const long ruleset =
        must(args, Stage::RestrictPaths, sys(SYS_landlock_create_ruleset, ptr(&attr), size, 0));
    allow_beneath(args, ruleset, "/", plan.read_fs, 1);
    unsigned index = 2;
    for (const TmpfsTarget& target : kTmpfs)
      allow_beneath(args, ruleset, target.path, plan.write_fs, index++);
    for (const char* device : kDevices) {
      // LANDLOCK_ACCESS_FS_WRITE_FILE, READ_FILE and IOCTL_DEV (isatty asks); a device file has no
      // entries.
      allow_beneath(args, ruleset, device, plan.handled_fs & 0x8006, index++);
    }
    must(args, Stage::RestrictPaths, sys(SYS_landlock_restrict_self, ruleset, 0), 20);
    sys(SYS_close, ruleset);
  }
  end(args, Stage::RestrictPaths);
}

}  // namespace jailrun::child
