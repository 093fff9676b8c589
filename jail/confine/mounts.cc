#include "jail/confine/mounts.h"

#include <sys/syscall.h>
#include <unistd.h>

#include "jail/sys/uapi.h"

namespace jailrun {

Fd read_only_mount(const Fd& of, std::uint64_t more, int userns) {
  Fd mount(static_cast<int>(
      ::syscall(SYS_open_tree, of.get(), "",
                uapi::kAtEmptyPath | uapi::kOpenTreeClone | uapi::kOpenTreeCloexec)));
  const uapi::mount_attr attr{
      .attr_set = uapi::kMountRdonly | uapi::kMountNosuid | uapi::kMountNodev | more,
      .attr_clr = 0,
      .propagation = uapi::kMsPrivate,
      .userns_fd = static_cast<std::uint64_t>(userns)};
  if (!mount.valid() ||
      ::syscall(SYS_mount_setattr, mount.get(), "", uapi::kAtEmptyPath, &attr, sizeof attr) != 0)
    return {};
  return mount;
}

}  // namespace jailrun
