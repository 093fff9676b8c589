// Attestation: what the kernel says of a jail, read from outside while its guest is blocked at the
// last gate, compared with what was asked for. Guest code runs only after it.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "jail/confine/cgroup.h"

namespace jailrun {

struct ExpectedMount {
  std::string target;
  std::string options;  // as mountinfo's sixth field begins: "ro,nosuid,nodev"
};

// Inodes of a process's namespaces: user, pid, mnt, ipc, uts, cgroup, net.
using Namespaces = std::array<std::uint64_t, 7>;
Namespaces own_namespaces();
Namespaces namespaces_of_process(pid_t pid);
// This process's supplementary groups, as Posture has them.
std::string own_groups();
// How many seccomp filters this process has: in a container it has some, and so has all that it
// starts.
unsigned own_filters();

struct Posture {
  pid_t init;                             // as the owner sees it
  std::uint32_t host_uid;                 // also the gid
  Namespaces owner;                       // the guest's must all differ
  std::uint64_t network_inode;            // the null network's; 0: any but the owner's own
  std::span<const ExpectedMount> mounts;  // exactly these; the caller keeps them
  unsigned filters = 0;                   // of the owner; the guest must have one more
  int last_descriptor = 3;                // of the guest at the gate: 0, 1, 2 and the gate
  // Supplementary ones, as in /proc/PID/status; none but in a plain user's.
  std::string groups = {};
  // Of who made the jail for the owner, where somebody did: but for the network none is the jail's.
  Namespaces keeper = {};
};

// In two parts, so that what no longer changes is read while the jail still works on the rest. Both
// give an Error of Stage::Attest that names what differs.
//
// Once init has announced that namespaces and mounts are final: mounts, membership, limits.
Expected<void> attest_world(const Posture& posture, const Cgroup& cgroup);
// At the last gate: ids, capabilities, filter, namespaces, descriptors.
struct Attested {
  pid_t guest;                      // as the owner sees it
  pid_t init_inside, guest_inside;  // in the next pid namespace below the owner's
};
Expected<Attested> attest_guest(const Posture& posture, const Cgroup& cgroup);

// The Error of an attestation that failed on `what`.
Error differs(const std::string& what);

}  // namespace jailrun
