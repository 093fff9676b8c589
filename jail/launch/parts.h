// What cold and warm jails are put together from, in the owner.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "jail/child/child.h"
#include "jail/launch/attest.h"
#include "jail/plan/plan.h"

namespace jailrun {

// Where images live: $JAILRUN_STATE_DIR, /var/lib/jailrun for root, ~/.local/share/jailrun
// otherwise.
std::string state_dir();

// Where the image of this name lies: among the user's own, else among the system's.
std::string image_path(const std::string& image);

// The image that the Plan names; refused where other users could change it.
Expected<Fd> open_image(const Plan& plan);

// What of a Plan depends on this host.
child::HostPlan make_host_plan(const Plan& plan);

// A pipe whose inode belongs to the guest, so that /dev/stdout and the like open it anew.
Expected<Pipe> open_stream(std::uint32_t host_uid);
// A SOCK_SEQPACKET pair: a side's end of file is the other's death.
struct Channel {
  Fd owner, child;
};
Expected<Channel> open_channel();

// /work, /tmp and /dev/shm of a jail, in this order: held, they outlive its last process.
using HeldMounts = std::array<Fd, child::kTmpfsCount>;
// Takes init's word that its world is final, and its mounts. Nothing: init is dead.
bool receive_mounts(const Fd& control, HeldMounts& mounts);

// The mounts of a jail without inputs.
std::vector<ExpectedMount> standard_mounts(const Plan& plan);

// The Error of a step that failed for want of something in the kernel or of the host's permission,
// naming it; nothing where it failed for another reason. `index` as the child reports it.
std::optional<Error> lacking_feature(Stage stage, int errno_value, unsigned index);
// The Error for a step that failed in the child.
Error describe(Stage stage, int errno_value, unsigned index);
// What a child said before it ended, or which step it did not survive.
Error child_error(const child::Report& report, const char* who);
// The Error of a fault test.
Error injected(Stage stage);

}  // namespace jailrun
