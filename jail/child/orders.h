// Orders: what the owner says to the keeper of a world and to its zygote. Each is one message of a
// SOCK_SEQPACKET socket with the descriptors in the order given here. Both sides are built together
// and both are trusted; neither socket is ever seen by a guest.
#pragma once

#include <cstdint>

#include "jail/child/child.h"
#include "jail/child/raw.h"

namespace jailrun::child {

// Descriptors that the keeper finds open after its exec.
inline constexpr int kKeeperSocket = 3, kKeeperPlan = 4, kZygoteSocket = 5;
// Where the keeper's own files lie in the zygote's world, and what it executes.
inline constexpr const char* kZygoteDir = "/run";

// Sealed, mapped read-only by keeper and zygote.
struct WarmPlan {
  Plan plan;
  HostPlan host;
};

// Two to a page, shared with the owner: what a slot's init and what its guest say of their steps.
struct Reports {
  Report init, guest;
};
static_assert(sizeof(Reports) <= 4096);

// To the keeper: build a slot. Descriptors: Reports, control, v2 leaf, then `tasks` of v1 leaves.
struct SlotOrder {
  std::uint32_t uid;  // of the jail, in the keeper's user namespace
  Stage fail_at;      // fault tests
};
inline constexpr unsigned kSlotReports = 0, kSlotControl = 1, kSlotLeaf = 2, kSlotTasks = 3;

// To the zygote: a child for a slot. Descriptors: the slot's init (pidfd), v2 leaf, Reports,
// control, the guest's five pipe ends, then `tasks` of v1 leaves.
struct ChildOrder {
  Stage fail_at;  // fault tests
  bool hurry;     // somebody waits for it: it does not touch its pages first
};
inline constexpr unsigned kChildInit = 0, kChildLeaf = 1, kChildReports = 2, kChildControl = 3,
                          kChildIn = 4, kChildOut = 5, kChildErr = 6, kChildRequest = 7,
                          kChildAnswer = 8, kChildTasks = 9;
inline constexpr unsigned kMaxOrderFds = Rights::kMost;

// From the keeper: one of its children has ended. The first event names the zygote, status -1.
struct KeeperEvent {
  std::int32_t pid, status;
};

// A world's keeper between clone and exec. Never returns.
struct KeeperArgs {
  ChildArgs base;     // plan, report, control (the keeper's socket), gate
  int tools_fd;       // a detached mount of the directory of zygote.py and its extension
  int program_fd;     // the keeper's program
  int plan_fd;        // of a WarmPlan
  int zygote_fd;      // the zygote's end of its socket
  int log_fd;         // what keeper and zygote print
  char* const* envp;  // the zygote's environment
};
[[noreturn]] void keeper_main(const KeeperArgs* args);

// In the zygote: the child of an order. Gives its pid there, -errno where there is none, and 0 in
// the child, which is then confined for good, with its pipes on 0 to 4 and `control` on 5.
// `reports` is mapped in the child alone. Set-up that fails ends the child; Reports say where.
struct WarmArgs {
  const WarmPlan* plan;
  const int* fds;  // of the ChildOrder
  unsigned count;
  std::int32_t* tid;  // where libc caches the thread's id
  Stage fail_at;
};
long fork_guest(const WarmArgs& args, Reports*& reports);
// In the child: says that it is ready and waits for the owner's attestation, then closes control.
// False: the owner is gone.
bool await_attestation(Reports* reports, Stage fail_at);

// In a short-lived process that shares the owner's memory: shows inputs below /data of a slot.
struct AttachArgs {
  ChildArgs base;  // report, inputs, input_count
  int init_pidfd;
};
[[noreturn]] void attach_main(const AttachArgs* args);

}  // namespace jailrun::child
