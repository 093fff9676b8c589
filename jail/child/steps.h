// How a step reports: its end time, or {stage, index, errno} and the end of the process.
#pragma once

#include <linux/prctl.h>
#include <linux/time_types.h>

#include "jail/child/child.h"
#include "jail/child/raw.h"

namespace jailrun::child {

inline constexpr long kEio = 5, kEsrch = 3;
inline constexpr long kCloexec = 02000000;  // O_CLOEXEC

inline std::int64_t now_ns() {
  __kernel_timespec now{};
  sys(SYS_clock_gettime, 1 /* CLOCK_MONOTONIC */, ptr(&now));
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

[[noreturn]] inline void leave(int status) {
  for (;;) sys(SYS_exit_group, status);
}

[[noreturn]] inline void fail(const ChildArgs* args, Stage stage, long result, unsigned index = 0) {
  args->report->error_errno = static_cast<std::int32_t>(-result);
  args->report->error_index = index;
  __atomic_store_n(&args->report->error_stage, static_cast<std::uint32_t>(stage), __ATOMIC_RELEASE);
  leave(1);
}

// The value of a step, or the end.
inline long must(const ChildArgs* args, Stage stage, long result, unsigned index = 0) {
  if (result < 0) fail(args, stage, result, index);
  return result;
}

inline void begin(const ChildArgs* args, Stage stage) {
  if (args->fail_at == stage) fail(args, stage, -kEio);
}

inline void end(const ChildArgs* args, Stage stage) {
  args->report->end_ns[static_cast<std::size_t>(stage)] = now_ns();
}

// A byte and descriptors, in one message.
long send_descriptors(int socket, char byte, const int* fds, unsigned count);

// The steps, each in the file of its subject.
int mount_root(const ChildArgs* args);  // returns the descriptor of the new root
void mount_dev(const ChildArgs* args, int root);
void mount_tmpfs(const ChildArgs* args, int root, int (&held)[kTmpfsCount]);
void mount_data(const ChildArgs* args, int root);
// For a keeper's world: a clone of `mount` on `target`, tmpfs on /tmp, all of proc (the maps of
// slots are written there, and slots may mount proc only where it is fully visible).
void clone_onto(const ChildArgs* args, Stage stage, int mount, int root, const char* target);
long attach_mount(int mount, int root, const char* target);
void mount_keeper_tmp(const ChildArgs* args, int root);
void mount_keeper_proc(const ChildArgs* args, int root);
void mount_proc(const ChildArgs* args, int root);
void pivot_root(const ChildArgs* args, int root);
void await_owner(const ChildArgs* args);
void die_with_owner(const ChildArgs* args);
void set_hostname(const ChildArgs* args);
void enter_leaves(const ChildArgs* args);
void take_ids(const ChildArgs* args);
void limit_resources(const ChildArgs* args);
void set_affinity(const ChildArgs* args);
void drop_capabilities(const ChildArgs* args);
void no_new_privs(const ChildArgs* args);
void restrict_paths(const ChildArgs* args);
void filter_syscalls(const ChildArgs* args);
[[noreturn]] void guest_main(const ChildArgs* args);

}  // namespace jailrun::child
