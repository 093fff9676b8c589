// The process that becomes the guest: descriptors, filter, gate, exec. Runs in init's memory
// (vfork).
#include "jail/child/steps.h"

namespace jailrun::child {
namespace {

constexpr long kOCloexec = 02000000, kEnoent = 2, kEnotdir = 20, kEacces = 13;

void close_descriptors(const ChildArgs* args) {
  begin(args, Stage::CloseDescriptors);
  sys(SYS_setsid);  // not init's process group: kill(0, …) stays among the guest's own
  must(args, Stage::CloseDescriptors, sys(SYS_dup2, args->stdin_fd, 0));
  must(args, Stage::CloseDescriptors, sys(SYS_dup2, args->stdout_fd, 1), 1);
  must(args, Stage::CloseDescriptors, sys(SYS_dup2, args->stderr_fd, 2), 2);
  if (args->control_fd != 3) {
    must(args, Stage::CloseDescriptors, sys(SYS_dup3, args->control_fd, 3, kOCloexec), 3);
  }
  must(args, Stage::CloseDescriptors, sys(SYS_close_range, 4, ~0U, 0), 4);
  end(args, Stage::CloseDescriptors);
}

// Signal state is inherited through exec: the owner blocks and ignores some, the guest must not.
void reset_signals(const ChildArgs* args) {
  struct {
    long handler, flags, restorer, mask;
  } standard{};
  for (int signal = 1; signal <= 64; ++signal) {
    if (signal == 9 || signal == 19) continue;
    sys(SYS_rt_sigaction, signal, ptr(&standard), 0, 8);
  }
  sys(SYS_personality, 0);  // the caller's may switch off address randomization
  const unsigned long none = 0;
  must(args, Stage::CloseDescriptors,
       sys(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, ptr(&none), 0, 8), 5);
}

void await_attestation(const ChildArgs* args) {
  begin(args, Stage::AwaitAttestation);
  char byte = 'r';
  must(args, Stage::AwaitAttestation, sys(SYS_write, 3, ptr(&byte), 1));
  const long n = sys(SYS_read, 3, ptr(&byte), 1);
  if (n != 1) fail(args, Stage::AwaitAttestation, n < 0 ? n : -kEsrch, 1);
  end(args, Stage::AwaitAttestation);
}

}  // namespace

void guest_main(const ChildArgs* args) {
  close_descriptors(args);
  reset_signals(args);
  filter_syscalls(args);
  await_attestation(args);

  begin(args, Stage::Exec);
  end(args, Stage::Exec);  // success is the control channel's end of file
  long error = -kEnoent;
  for (unsigned i = 0; args->candidates[i] != nullptr; ++i) {
    const long result = sys(SYS_execve, ptr(args->candidates[i]), ptr(args->argv), ptr(args->envp));
    // As execvp: go on where the file is not there, remember where it may not be run.
    if (result == -kEacces) error = result;
    if (result != -kEnoent && result != -kEnotdir && result != -kEacces)
      fail(args, Stage::Exec, result, i);
  }
  fail(args, Stage::Exec, error);
}

}  // namespace jailrun::child
