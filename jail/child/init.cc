// The jail's pid 1: trusted, set up with full rights in its own user namespace, then without any.
#include <linux/sched.h>

#include "jail/child/steps.h"
#include "jail/sys/uapi.h"

namespace jailrun::child {
namespace {

constexpr std::uint64_t kSigchldSet = 1u << 16;

constexpr int kSigkill = 9, kSigchld = 17, kSigsys = 31;
constexpr long kMsgDontwait = 0x40, kWall = 0x40000000, kWnohang = 1, kEagain = 11, kEchild = 10;

// Into the v1 leaves, by its own hand (see Cgroup::task_files); clone3 has put it into the v2 one.
void attach_cgroup(const ChildArgs* args) {
  begin(args, Stage::AttachCgroup);
  // What a privileged caller may have and its guest must not inherit: a real-time class (also
  // refused by v1 cpu groups, and beyond any quota), negative nice, a real-time I/O class.
  const int ordinary = 0;
  sys(SYS_sched_setscheduler, 0, 0, ptr(&ordinary));
  if (sys(SYS_getpriority, 0, 0) > 20) sys(SYS_setpriority, 0, 0, 0);
  sys(SYS_ioprio_set, 1, 0, 0);
  for (unsigned i = 0; i < args->task_file_count; ++i) {
    must(args, Stage::AttachCgroup, sys(SYS_write, args->task_files[i], ptr("0"), 1), i);
  }
  end(args, Stage::AttachCgroup);
}

// Blocks until the owner has mapped ids; its death reads as end of file.
void await_owner(const ChildArgs* args) {
  begin(args, Stage::AwaitOwner);
  sys(SYS_close, args->owner_control_fd);  // else the owner's death would not be end of file
  char byte;
  const long n = sys(SYS_read, args->control_fd, ptr(&byte), 1);
  if (n != 1) fail(args, Stage::AwaitOwner, n < 0 ? n : -kEsrch);
  end(args, Stage::AwaitOwner);
}

void take_ids(const ChildArgs* args) {
  begin(args, Stage::TakeIds);
  sys(SYS_setsid);  // no terminal, and no signals of the caller's process group
  must(args, Stage::TakeIds, sys(SYS_setgroups, 0, 0));
  must(args, Stage::TakeIds, sys(SYS_setresgid, args->uid, args->uid, args->uid), 1);
  // Capabilities survive: the id that is left behind has no mapping, so it is not this namespace's
  // root.
  must(args, Stage::TakeIds, sys(SYS_setresuid, args->uid, args->uid, args->uid), 2);
  sys(SYS_umask, 022);
  end(args, Stage::TakeIds);
}

void die_with_owner(const ChildArgs* args) {
  begin(args, Stage::DieWithOwner);
  must(args, Stage::DieWithOwner, sys(SYS_prctl, PR_SET_PDEATHSIG, kSigkill));
  must(args, Stage::DieWithOwner, sys(SYS_prctl, PR_SET_DUMPABLE, 0));
  // The owner may have died just before: then the pipe is at its end instead of empty.
  char byte;
  const long n = sys(SYS_recvfrom, args->control_fd, ptr(&byte), 1, kMsgDontwait);
  if (n != -kEagain) fail(args, Stage::DieWithOwner, -kEsrch);
  end(args, Stage::DieWithOwner);
}

void set_hostname(const ChildArgs* args) {
  begin(args, Stage::SetHostname);
  std::size_t length = 0;
  while (args->hostname[length] != 0) ++length;
  must(args, Stage::SetHostname,
       sys(SYS_sethostname, ptr(args->hostname), static_cast<long>(length)));
  must(args, Stage::SetHostname, sys(SYS_setdomainname, ptr("(none)"), 6), 1);
  end(args, Stage::SetHostname);
}

void limit_resources(const ChildArgs* args) {
  begin(args, Stage::LimitResources);
  for (unsigned i = 0; i < args->rlimit_count; ++i) {
    const std::uint64_t both[2] = {args->rlimits[i].value, args->rlimits[i].value};
    must(args, Stage::LimitResources,
         sys(SYS_prlimit64, 0, args->rlimits[i].resource, ptr(both), 0), i);
  }
  end(args, Stage::LimitResources);
}

// As many of the caller's CPUs as the limit rounds up to, from the one that the scheduler has just
// chosen for this process: moving to another would cost more than the rest of set-up.
void set_affinity(const ChildArgs* args) {
  begin(args, Stage::SetAffinity);
  constexpr unsigned kWords = 16;
  std::uint64_t chosen[kWords] = {};
  const auto words = static_cast<unsigned>(args->cpu_words < kWords ? args->cpu_words : kWords);
  unsigned here = 0;
  sys(SYS_getcpu, ptr(&here), 0, 0);
  unsigned left = args->cpu_count;
  for (unsigned i = 0; i < words * 64 && left > 0; ++i) {
    const unsigned cpu = (here + i) % (words * 64);
    const std::uint64_t bit = std::uint64_t{1} << (cpu % 64);
    if ((args->cpus[cpu / 64] & bit) == 0) continue;
    chosen[cpu / 64] |= bit;
    --left;
  }
  must(args, Stage::SetAffinity, sys(SYS_sched_setaffinity, 0, words * 8, ptr(chosen)));
  end(args, Stage::SetAffinity);
}

void new_cgroup_namespace(const ChildArgs* args) {
  begin(args, Stage::NewCgroupNamespace);
  must(args, Stage::NewCgroupNamespace, sys(SYS_unshare, static_cast<long>(uapi::kCloneNewcgroup)));
  end(args, Stage::NewCgroupNamespace);
}

// From here on namespaces and mounts stay as they are: the owner reads them while init goes on.
void announce_world(const ChildArgs* args) {
  must(args, Stage::NewCgroupNamespace, sys(SYS_write, args->control_fd, ptr("m"), 1), 1);
}

void no_new_privs(const ChildArgs* args) {
  begin(args, Stage::NoNewPrivs);
  must(args, Stage::NoNewPrivs, sys(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1));
  end(args, Stage::NoNewPrivs);
}

// vfork on a stack of its own: the child runs in this memory until it executes, nothing is copied.
long spawn_guest(const ChildArgs* args) {
  register long flags asm("rdi") = static_cast<long>(uapi::kCloneVm | uapi::kCloneVfork) | kSigchld;
  register long stack asm("rsi") = reinterpret_cast<long>(args->guest_stack_top);
  register long no_tid asm("rdx") = 0;
  register long no_child_tid asm("r10") = 0;
  register const ChildArgs* argument asm("r12") = args;
  long result;
  asm volatile(
      "xorl %%r8d, %%r8d\n\t"
      "syscall\n\t"
      "testq %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "movq %%r12, %%rdi\n\t"
      "call *%[entry]\n\t"
      "hlt\n"
      "1:"
      : "=a"(result)
      : "a"(SYS_clone), "r"(flags), "r"(stack), "r"(no_tid), "r"(no_child_tid),
        "r"(argument), [entry] "r"(&guest_main)
      : "rcx", "r8", "r11", "memory");
  return result;
}

// Reaps until the guest's first process has ended. When this returns and init ends, the kernel
// kills whatever else lives in the pid namespace. The owner keeps the deadline; a stopped owner
// (Ctrl-Z) or one blocked by its caller's terminal cannot, so init ends the jail a second later.
void reap(const ChildArgs* args, long guest) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  const std::int64_t deadline =
      args->report->end_ns[static_cast<std::size_t>(Stage::Exec)] + args->wall_ns + kSecond;
  for (;;) {
    int status = 0;
    const long pid = sys(SYS_wait4, -1, ptr(&status), kWall | kWnohang, 0);
    if (pid == -kEchild) return;
    if (pid == 0) {
      const std::int64_t left = deadline - now_ns();
      if (left <= 0) return;
      const __kernel_timespec timeout{left / kSecond, left % kSecond};
      sys(SYS_rt_sigtimedwait, ptr(&kSigchldSet), 0, ptr(&timeout), 8);
      continue;
    }
    if (pid < 0) continue;
    if (pid == guest) {
      args->report->guest_status = status;
      args->report->guest_end_ns = now_ns();
      __atomic_store_n(&args->report->guest_done, 1u, __ATOMIC_RELEASE);
      return;
    }
    if ((status & 0x7f) == kSigsys) ++args->report->orphans_sigsys;
  }
}

}  // namespace

void init_main(const ChildArgs* args) {
  attach_cgroup(args);
  await_owner(args);

  // Beyond this point every limit holds and ids are mapped.
  take_ids(args);
  die_with_owner(args);

  // The new root is put together beside the old one, then takes its place.
  const int root = mount_root(args);
  mount_dev(args, root);
  mount_tmpfs(args, root);
  mount_data(args, root);
  mount_proc(args, root);
  pivot_root(args, root);

  // Beyond this point the host file system is unreachable.
  set_hostname(args);
  limit_resources(args);
  set_affinity(args);
  new_cgroup_namespace(args);
  announce_world(args);
  drop_capabilities(args);
  no_new_privs(args);
  restrict_paths(args);

  // Beyond this point init has no right that the guest lacks, except to wait.
  begin(args, Stage::Spawn);
  sys(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, ptr(&kSigchldSet), 0, 8);  // reap() waits for it
  const long guest = must(args, Stage::Spawn, spawn_guest(args));
  sys(SYS_close_range, 0, ~0U, 0);
  for (char* c = args->wipe_begin; c != args->wipe_end; ++c) *c = 0;
  reap(args, guest);
  leave(0);
}

}  // namespace jailrun::child
