// Attestation: what the kernel says of a jail, read from outside while its guest is blocked at the last
// gate, compared with what was asked for. Guest code runs only after it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "jail/confine/cgroup.h"

namespace jailrun {

struct ExpectedMount {
  std::string target;
  std::string options;  // as mountinfo's sixth field begins: "ro,nosuid,nodev"
};

struct Posture {
  pid_t init;                   // as the owner sees it
  std::uint32_t host_uid;       // also the gid
  std::uint64_t network_inode;  // the null network's; 0: any but the owner's own
  std::vector<ExpectedMount> mounts;  // exactly these
};

// The pid of the guest, or an Error of Stage::Attest that names what differs.
Expected<pid_t> attest(const Posture& posture, const Cgroup& cgroup);

}  // namespace jailrun
