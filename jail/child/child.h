// What runs between clone and exec: straight-line raw system calls, everything decided beforehand.
//
// The folder is compiled without exceptions, RTTI, sanitizers and stack protector, and links
// nothing; a test compares its undefined symbols with an empty list. The owner fills a ChildArgs,
// clones, and calls init_main() in the child, which never returns. Errors and times go through the
// Report, one shared page that init keeps and the guest loses at exec.
#pragma once

#include <linux/filter.h>

#include <cstddef>
#include <cstdint>

#include "jail/plan/plan.h"
#include "jail/sys/stage.h"

namespace jailrun::child {

// One page, MAP_SHARED between the owner and the jail's init. Never mapped in the guest.
struct Report {
  // The step that failed, 0 for none, its errno, and which of several alike (a mount, a rule).
  std::uint32_t error_stage;
  std::int32_t error_errno;
  std::uint32_t error_index;
  // Written by init when the guest's first process has ended: its wait status, then done.
  std::int32_t guest_status;
  std::uint32_t guest_done;
  // Orphans that died by SIGSYS.
  std::uint32_t orphans_sigsys;
  // CLOCK_MONOTONIC, nanoseconds, at the end of each stage; 0 where it was not reached.
  std::int64_t end_ns[kStageCount];
  std::int64_t guest_end_ns;
};

// The guest's writable mounts, always these three; the owner holds each of them.
struct TmpfsTarget {
  const char* path;  // absolute, as the guest sees it
  const char* mode;  // octal
};
inline constexpr std::size_t kTmpfsCount = 3;
inline constexpr TmpfsTarget kTmpfs[kTmpfsCount] = {
    {"/work", "0755"}, {"/tmp", "1777"}, {"/dev/shm", "1777"}};
// The guest's devices, bound from the host's.
inline constexpr const char* kDevices[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random",
                                           "/dev/urandom"};

// What of a Plan depends on the host, in the form that the child needs it. Trivially copyable.
struct HostPlan {
  struct {
    char bytes[24], inodes[12];  // decimal
  } tmpfs[kTmpfsCount];
  std::uint64_t tmpfs_attributes;
  RlimitPlan rlimits[12];  // clipped to the owner's own hard limits
  std::uint32_t rlimit_count;
  std::uint64_t cpus[16];  // the owner's affinity mask
  std::uint32_t last_capability;
};

struct InputArgs {
  const char* name;     // one path component below /data, or /packages
  int tree_fd;          // a detached mount of the file, or -1
  const char* content;  // where tree_fd is -1: bytes to copy
  std::size_t size;
  bool is_package;  // a layer: tree_fd is a directory, seen below /packages
};

struct ChildArgs {
  Report* report;
  const Plan* plan;
  const HostPlan* host;
  int control_fd;  // child's end: one byte in per gate, one byte out when ready; EOF: owner is dead
  int owner_control_fd;  // the owner's end, closed first; -1: not inherited
  int gate_fd;           // a byte here: ids are mapped; its end of file: who maps them is dead

  const int* task_files;  // `tasks` of the cgroup v1 leaves
  std::size_t task_file_count;

  std::uint32_t uid;  // inside, also the gid
  // A plain user without a range of ids may not give up groups. They open nothing: no file of the
  // host is in sight.
  bool keeps_groups;
  const char* hostname;
  const char* workdir;

  const InputArgs* inputs;  // mounted on /data and /packages
  std::size_t input_count;
  const InputArgs* script;  // copied to /run, or null

  int stdin_fd, stdout_fd, stderr_fd;  // all above 2
  const char* const* candidates;       // paths to execute, in order, null-terminated
  char* const* argv;
  char* const* envp;

  char* wipe_begin;  // the owner's argv and environment, cleared in init; may be null
  char* wipe_end;

  void* guest_stack_top;  // for the moment between Spawn and Exec; 16-byte aligned

  Stage fail_at;  // fault tests: this stage fails with EIO; None otherwise
};

// The jail's pid 1, which starts the guest. Never returns.
[[noreturn]] void init_main(const ChildArgs* args);
// The pid 1 of a slot: the same world, into which a guest will be cloned by somebody else.
[[noreturn]] void slot_main(const ChildArgs* args);

}  // namespace jailrun::child
