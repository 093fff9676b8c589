// What a failed step says of the host: which feature it lacks, which permission it does not give.
#include <cerrno>

#include "jail/launch/parts.h"

namespace jailrun {
namespace {

constexpr const char* kNewerKernel =
    "use kernel 6.1 or newer; where jailrun itself runs in a container or sandbox, allow the call "
    "there";
constexpr const char* kNamespaceLimit =
    "raise it: `sysctl -w user.max_user_namespaces=15000`, and the other user.max_*_namespaces";
constexpr const char* kNamespaceRight =
    "allow user namespaces: kernel.unprivileged_userns_clone=1, or, where AppArmor restricts them, "
    "jailrun's profile (share/jailrun/apparmor/jailrun); in a container, its seccomp profile";
constexpr const char* kMaskedProc =
    "/proc here is masked, as in a container: run outside of it, or have it unmasked (podman run "
    "--security-opt unmask=ALL)";

constexpr unsigned kAny = ~0u;

constexpr struct {
  Stage stage;
  int errno_value;
  unsigned index;
  const char* what;  // "cannot STEP in the jail without WHAT"
  const char* remedy;
} kLacking[] = {
    {Stage::Clone, ENOSYS, kAny, "clone3 (kernel 5.3)", kNewerKernel},
    {Stage::Clone, E2BIG, kAny, "CLONE_INTO_CGROUP (kernel 5.7)", kNewerKernel},
    {Stage::Clone, EINVAL, kAny, "CLONE_INTO_CGROUP (kernel 5.7)", kNewerKernel},
    {Stage::Clone, ENOSPC, kAny, "more namespaces: this host's limit is reached", kNamespaceLimit},
    {Stage::Clone, EPERM, kAny, "the right to make user namespaces", kNamespaceRight},
    {Stage::MountRoot, ENOSYS, 0, "open_tree (kernel 5.2)", kNewerKernel},
    {Stage::MountRoot, ENOSYS, 1, "mount_setattr (kernel 5.12)", kNewerKernel},
    {Stage::MountRoot, ENOSYS, 2, "move_mount (kernel 5.2)", kNewerKernel},
    {Stage::MountTmpfs, ENOSYS, kAny, "fsopen (kernel 5.2)", kNewerKernel},
    {Stage::MountProc, EINVAL, kAny, "proc's subset=pid and hidepid=invisible (kernel 5.8)",
     kNewerKernel},
    {Stage::MountProc, EPERM, kAny, "a /proc that is whole outside", kMaskedProc},
    {Stage::RestrictPaths, ENOSYS, kAny, "the Landlock that this host had before", kNewerKernel},
    {Stage::RestrictPaths, EOPNOTSUPP, kAny, "the Landlock that this host had before",
     kNewerKernel},
    {Stage::CloseDescriptors, ENOSYS, kAny, "close_range (kernel 5.9)", kNewerKernel},
    {Stage::FilterSyscalls, ENOSYS, kAny, "seccomp filters (CONFIG_SECCOMP_FILTER)", kNewerKernel},
};

}  // namespace

std::optional<Error> lacking_feature(Stage stage, int errno_value, unsigned index) {
  for (const auto& each : kLacking) {
    if (each.stage != stage || each.errno_value != errno_value ||
        (each.index != kAny && each.index != index))
      continue;
    std::string step(info(stage).name);
    for (char& c : step) c = c == '_' ? ' ' : c;
    if (stage == Stage::Clone) step = "create its namespaces";
    return Error{stage, std::string(info(stage).name) + " #" + std::to_string(index), errno_value,
                 "the jail cannot " + step + " without " + each.what, each.remedy};
  }
  return std::nullopt;
}

}  // namespace jailrun
