// A warm guest: cloned by the zygote, joins a slot, gives up every right. The zygote's own thread
// runs this, in its child's copy of its memory.
#include <linux/prctl.h>

#include <bit>

#include "jail/child/orders.h"
#include "jail/child/steps.h"
#include "jail/sys/uapi.h"

namespace jailrun::child {
namespace {

constexpr long kPathOfDirectory = 010200000;  // O_PATH | O_DIRECTORY
constexpr int kControl = 5;                   // of the parked guest; 0 to 4 are its pipes

long clone_into(const WarmArgs& args) {
  uapi::clone_args clone{};
  // CLONE_PARENT: the keeper is the guest's parent, so that a zygote may go and its children stay.
  clone.flags = uapi::kCloneParent | uapi::kCloneIntoCgroup | uapi::kCloneChildSettid |
                uapi::kCloneChildCleartid;
  clone.child_tid = reinterpret_cast<std::uint64_t>(args.tid);
  clone.cgroup = static_cast<std::uint64_t>(args.fds[kChildLeaf]);
  return sys(SYS_clone3, ptr(&clone), sizeof clone);
}

void join_slot(const ChildArgs* args, int init) {
  begin(args, Stage::JoinSlot);
  constexpr std::uint64_t kAll = uapi::kCloneNewuser | uapi::kCloneNewns | uapi::kCloneNewipc |
                                 uapi::kCloneNewuts | uapi::kCloneNewcgroup;
  must(args, Stage::JoinSlot, sys(SYS_setns, init, static_cast<long>(kAll)));
  must(args, Stage::JoinSlot, sys(SYS_chdir, ptr(args->workdir)), 1);
  end(args, Stage::JoinSlot);
}

// All received descriptors lie above kControl: the zygote keeps the numbers up to it occupied.
void take_descriptors(const ChildArgs* args, const int* fds) {
  begin(args, Stage::CloseDescriptors);
  const unsigned order[] = {kChildIn,      kChildOut,    kChildErr,
                            kChildRequest, kChildAnswer, kChildControl};
  int target = 0;
  for (const unsigned index : order) {
    must(args, Stage::CloseDescriptors, sys(SYS_dup2, fds[index], target), index);
    ++target;
  }
  must(args, Stage::CloseDescriptors, sys(SYS_close_range, kControl + 1, ~0U, 0));
  // What spawned the zygote had them ignored: libc's own two (posix_spawn leaves them so).
  const struct {
    long handler, flags, restorer, mask;
  } standard{};
  for (const int signal : {32, 33}) sys(SYS_rt_sigaction, signal, ptr(&standard), 0, 8);
  const unsigned long none = 0;
  must(args, Stage::CloseDescriptors,
       sys(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, ptr(&none), 0, 8));
  end(args, Stage::CloseDescriptors);
}

void confine(const WarmArgs& warm, Reports* reports) {
  ChildArgs args{};
  args.report = &reports->guest;
  args.plan = &warm.plan->plan;
  args.host = &warm.plan->host;
  args.uid = kGuestUid;
  args.workdir = "/work";
  args.task_files = warm.fds + kChildTasks;
  args.task_file_count = warm.count - kChildTasks;
  args.fail_at = warm.fail_at;
  begin(&args, Stage::Spawn);
  end(&args, Stage::Spawn);

  // Limits first: what is touched from here on is the jail's memory.
  enter_leaves(&args);
  join_slot(&args, warm.fds[kChildInit]);
  take_ids(&args);
  must(&args, Stage::TakeIds, sys(SYS_prctl, PR_SET_DUMPABLE, 0), 3);
  limit_resources(&args);
  set_affinity(&args);
  drop_capabilities(&args);
  no_new_privs(&args);
  restrict_paths(&args);
  take_descriptors(&args, warm.fds);
  filter_syscalls(&args);
  sys(SYS_munmap, ptr(warm.plan), sizeof *warm.plan);
}

}  // namespace

long fork_guest(const WarmArgs& args, Reports*& reports) {
  // The child will be born in the slot's pid namespace.
  const long joined = sys(SYS_setns, args.fds[kChildInit], static_cast<long>(uapi::kCloneNewpid));
  if (joined < 0) return joined;
  void* robust = nullptr;
  std::size_t robust_size = 0;
  sys(SYS_get_robust_list, 0, ptr(&robust), ptr(&robust_size));
  const long pid = clone_into(args);
  if (pid != 0) return pid;

  sys(SYS_set_robust_list, ptr(robust), static_cast<long>(robust_size));
  const long page =
      sys(SYS_mmap, 0, 4096, 3 /* read, write */, 1 /* MAP_SHARED */, args.fds[kChildReports], 0);
  if (page < 0) leave(1);
  reports = std::bit_cast<Reports*>(page);
  confine(args, reports);
  return 0;
}

bool await_attestation(Reports* reports, Stage fail_at) {
  ChildArgs args{};
  args.report = &reports->guest;
  args.fail_at = fail_at;
  begin(&args, Stage::PreTouch);
  end(&args, Stage::PreTouch);
  begin(&args, Stage::AwaitAttestation);
  // The guest must not keep a page that its owner reads.
  sys(SYS_munmap, ptr(reports), 4096);
  char byte = 'r';
  const bool granted =
      sys(SYS_write, kControl, ptr(&byte), 1) == 1 && sys(SYS_read, kControl, ptr(&byte), 1) == 1;
  sys(SYS_close, kControl);
  return granted;
}

void attach_main(const AttachArgs* attach) {
  const ChildArgs* args = &attach->base;
  must(args, Stage::MountData,
       sys(SYS_setns, attach->init_pidfd,
           static_cast<long>(uapi::kCloneNewuser | uapi::kCloneNewns)));
  // An id that the user namespace knows, else the tmpfs could not own its files; rights stay.
  must(args, Stage::MountData, sys(SYS_setresgid, args->uid, args->uid, args->uid), 1);
  must(args, Stage::MountData, sys(SYS_setresuid, args->uid, args->uid, args->uid), 2);
  const long root = must(args, Stage::MountData, sys(SYS_open, ptr("/"), kPathOfDirectory), 3);
  mount_data(args, static_cast<int>(root));
  leave(0);
}

}  // namespace jailrun::child
