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
  // Descriptor numbers in init of the three tmpfs mounts, for pidfd_getfd while init is in Spawn.
  std::int32_t work_fd, tmp_fd, shm_fd;
  // Written by init when the guest's first process has ended: its wait status, then done.
  std::int32_t guest_status;
  std::uint32_t guest_done;
  // Orphans that died by SIGSYS.
  std::uint32_t orphans_sigsys;
  // CLOCK_MONOTONIC, nanoseconds, at the end of each stage; 0 where it was not reached.
  std::int64_t end_ns[kStageCount];
  std::int64_t guest_end_ns;
};

struct TmpfsArgs {
  const char* target;  // absolute, as the guest sees it: "/work"
  const char* bytes;   // decimal
  const char* inodes;  // decimal
  const char* mode;    // octal
  std::uint64_t attributes;
  std::int32_t* fd_out;  // where in the Report its descriptor goes, or null
};

struct InputArgs {
  const char* name;     // one path component below /data
  int tree_fd;          // a detached mount of the file, or -1
  const char* content;  // where tree_fd is -1: bytes to copy
  std::size_t size;
};

struct ChildArgs {
  Report* report;
  int control_fd;  // child's end: one byte in per gate, one byte out when ready; EOF: owner is dead
  int owner_control_fd;  // the owner's end, closed first

  const int* task_files;  // `tasks` of the cgroup v1 leaves
  std::size_t task_file_count;

  std::int64_t wall_ns;  // init ends the jail a second after it, should the owner be stopped
  std::uint32_t uid;     // inside, also the gid
  const char* hostname;
  const char* workdir;

  const char* const* devices;  // below /dev, null-terminated
  const TmpfsArgs* tmpfs;
  std::size_t tmpfs_count;
  const InputArgs* inputs;  // mounted on /data
  std::size_t input_count;
  const InputArgs* script;  // copied to /run, or null

  const RlimitPlan* rlimits;
  std::size_t rlimit_count;
  const std::uint64_t* cpus;  // the caller's own affinity mask
  std::size_t cpu_words;
  std::uint32_t cpu_count;  // how many of them the guest gets
  std::uint32_t last_capability;
  LandlockPlan landlock;
  sock_fprog filter;

  int stdin_fd, stdout_fd, stderr_fd;  // all above 2
  const char* const* candidates;       // paths to execute, in order, null-terminated
  char* const* argv;
  char* const* envp;

  char* wipe_begin;  // the owner's argv and environment, cleared in init; may be null
  char* wipe_end;

  void* guest_stack_top;  // for the moment between Spawn and Exec; 16-byte aligned

  Stage fail_at;  // fault tests: this stage fails with EIO; None otherwise
};

// The jail's pid 1. Never returns.
[[noreturn]] void init_main(const ChildArgs* args);

}  // namespace jailrun::child
