// The jail's pid 1: trusted, set up with full rights in its own user namespace, then without any.
#include <linux/sched.h>

#include "jail/child/steps.h"
#include "jail/sys/uapi.h"

namespace jailrun::child {
namespace {

constexpr std::uint64_t kSigchldSet = 1u << 16;

constexpr int kSigkill = 9, kSigchld = 17, kSigsys = 31;
constexpr long kMsgDontwait = 0x40, kMsgPeek = 2, kWall = 0x40000000, kWnohang = 1, kEagain = 11,
               kEchild = 10, kEtoomanyrefs = 109;

void new_cgroup_namespace(const ChildArgs* args) {
  begin(args, Stage::NewCgroupNamespace);
  must(args, Stage::NewCgroupNamespace, sys(SYS_unshare, static_cast<long>(uapi::kCloneNewcgroup)));
  end(args, Stage::NewCgroupNamespace);
}

// From here on namespaces and mounts stay as they are: the owner reads them while init goes on, and
// holds the writable ones from now on.
void announce_world(const ChildArgs* args, const int (&held)[kTmpfsCount]) {
  must(args, Stage::NewCgroupNamespace, send_descriptors(args->control_fd, 'm', held, kTmpfsCount),
       1);
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
  const std::int64_t deadline = args->report->end_ns[static_cast<std::size_t>(Stage::Exec)] +
                                static_cast<std::int64_t>(args->plan->wall_ns) + kSecond;
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

// A slot's guest is another's child; only its orphans come here. Lives until it is killed.
[[noreturn]] void reap_orphans(const ChildArgs* args) {
  for (;;) {
    int status = 0;
    const long pid = sys(SYS_wait4, -1, ptr(&status), kWall, 0);
    if (pid > 0 && (status & 0x7f) == kSigsys) ++args->report->orphans_sigsys;
    if (pid == -kEchild) sys(SYS_rt_sigtimedwait, ptr(&kSigchldSet), 0, 0, 8);
  }
}

// From bare namespaces to a world without rights. Every limit holds and ids are mapped when the
// gate opens.
void enter_world(const ChildArgs* args) {
  enter_leaves(args);
  await_owner(args);
  take_ids(args);
  die_with_owner(args);

  // The new root is put together beside the old one, then takes its place.
  int held[kTmpfsCount];
  const int root = mount_root(args);
  mount_dev(args, root);
  mount_tmpfs(args, root, held);
  mount_data(args, root);
  mount_proc(args, root);
  pivot_root(args, root);

  // Beyond this point the host file system is unreachable.
  set_hostname(args);
  limit_resources(args);
  set_affinity(args);
  new_cgroup_namespace(args);
  announce_world(args, held);
  drop_capabilities(args);
  no_new_privs(args);
  restrict_paths(args);
  // Beyond this point init has no right that the guest lacks, except to wait.
}

void forget(const ChildArgs* args) {
  sys(SYS_close_range, 0, ~0U, 0);
  for (char* c = args->wipe_begin; c != args->wipe_end; ++c) *c = 0;
}

}  // namespace

// Blocks until the owner has mapped ids; its death reads as end of file.
void await_owner(const ChildArgs* args) {
  begin(args, Stage::AwaitOwner);
  sys(SYS_close, args->owner_control_fd);  // else the owner's death would not be end of file
  char byte;
  const long n = sys(SYS_read, args->gate_fd, ptr(&byte), 1);
  if (n != 1) fail(args, Stage::AwaitOwner, n < 0 ? n : -kEsrch);
  end(args, Stage::AwaitOwner);
}

void die_with_owner(const ChildArgs* args) {
  begin(args, Stage::DieWithOwner);
  must(args, Stage::DieWithOwner, sys(SYS_prctl, PR_SET_PDEATHSIG, kSigkill));
  must(args, Stage::DieWithOwner, sys(SYS_prctl, PR_SET_DUMPABLE, 0));
  // The owner may have died just before: then the channel is at its end.
  char byte;
  const long n = sys(SYS_recvfrom, args->control_fd, ptr(&byte), 1, kMsgDontwait | kMsgPeek);
  if (n <= 0 && n != -kEagain) fail(args, Stage::DieWithOwner, -kEsrch);
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

long send_descriptors(int socket, char byte, const int* fds, unsigned count) {
  Rights rights{.length = Rights::kHead + 4 * count, .fds = {}};
  for (unsigned i = 0; i < count; ++i) rights.fds[i] = fds[i];
  Part part{&byte, 1};
  const Message message{
      .parts = &part, .control = &rights, .control_length = Rights::kHead + 8 * ((count + 1) / 2)};
  // Descriptors in flight are counted for each uid, and those that a guest who had ours before sent
  // in a cycle count until the kernel's collector of sockets has been by.
  constexpr long kPatience[2] = {0, 10'000'000};  // struct timespec
  long sent = 0;
  for (int tries = 0; tries < 100; ++tries) {
    sent = sys(SYS_sendmsg, socket, ptr(&message), 0x4000 /* MSG_NOSIGNAL */);
    if (sent != -kEtoomanyrefs) break;
    sys(SYS_nanosleep, ptr(&kPatience), 0);
  }
  return sent;
}

void init_main(const ChildArgs* args) {
  enter_world(args);
  begin(args, Stage::Spawn);
  // reap() waits for it: one that was not blocked would be missed, and a run would not end.
  must(args, Stage::Spawn, sys(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, ptr(&kSigchldSet), 0, 8), 5);
  const long guest = must(args, Stage::Spawn, spawn_guest(args));
  forget(args);
  reap(args, guest);
  leave(0);
}

void slot_main(const ChildArgs* args) {
  enter_world(args);
  begin(args, Stage::Spawn);
  must(args, Stage::Spawn, sys(SYS_rt_sigprocmask, 0 /* SIG_BLOCK */, ptr(&kSigchldSet), 0, 8), 5);
  end(args, Stage::Spawn);
  forget(args);
  reap_orphans(args);
}

}  // namespace jailrun::child
