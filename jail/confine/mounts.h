// Mounts that belong to nobody yet: made by their owner, put in place by the jail's own init.
#pragma once

#include <cstdint>

#include "jail/sys/fd.h"

namespace jailrun {

// A detached mount of what `of` names (an O_PATH descriptor will do), read-only, nosuid and nodev,
// with `more` of MOUNT_ATTR_*; `userns` is for MOUNT_ATTR_IDMAP. Empty, with errno, where the
// kernel refuses.
Fd read_only_mount(const Fd& of, std::uint64_t more = 0, int userns = 0);

}  // namespace jailrun
