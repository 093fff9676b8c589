// The keeper of a world, between clone and exec: root of a user namespace that has no right on the
// host, in a world made of the image. What it executes builds slots and starts the zygote.
#include "jail/child/orders.h"
#include "jail/child/steps.h"
#include "jail/sys/uapi.h"

namespace jailrun::child {
namespace {

// Descriptors are gathered from here on first, at numbers that are free, so that none is
// overwritten before it is moved: an owner with many jails has its own ones up there.
constexpr int kHigh = 64;

void arrange_descriptors(const KeeperArgs* args) {
  const ChildArgs* base = &args->base;
  begin(base, Stage::CloseDescriptors);
  const long null = must(base, Stage::CloseDescriptors, sys(SYS_open, ptr("/dev/null"), 2));
  const int wanted[] = {static_cast<int>(null), args->log_fd,    args->log_fd,    base->control_fd,
                        args->plan_fd,          args->zygote_fd, args->program_fd};
  constexpr int kCount = sizeof wanted / sizeof wanted[0];
  long high[kCount];
  for (int i = 0; i < kCount; ++i)
    high[i] =
        must(base, Stage::CloseDescriptors, sys(SYS_fcntl, wanted[i], 0 /* F_DUPFD */, kHigh), i);
  for (int i = 0; i < kCount; ++i)
    must(base, Stage::CloseDescriptors, sys(SYS_dup3, high[i], i, i < 3 ? 0 : kCloexec), i);
  must(base, Stage::CloseDescriptors, sys(SYS_close_range, kCount, ~0U, 0));
  // These three are the program's to use.
  for (const int fd : {kKeeperSocket, kKeeperPlan, kZygoteSocket})
    must(base, Stage::CloseDescriptors, sys(SYS_fcntl, fd, 2 /* F_SETFD */, 0), fd);
  end(base, Stage::CloseDescriptors);
}

void mount_keeper_world(const KeeperArgs* args) {
  const ChildArgs* base = &args->base;
  const int root = mount_root(base);
  // The image once more, with nothing on it: slots clone their root from there, and a mount on
  // which others lie cannot be cloned in a user namespace below.
  begin(base, Stage::MountData);
  clone_onto(base, Stage::MountData, root, root, "data");
  must(base, Stage::MountData, attach_mount(args->tools_fd, root, "run"));
  end(base, Stage::MountData);
  mount_dev(base, root);
  mount_keeper_tmp(base, root);
  mount_keeper_proc(base, root);
  pivot_root(base, root);
}

}  // namespace

void keeper_main(const KeeperArgs* args) {
  const ChildArgs* base = &args->base;
  await_owner(base);
  take_ids(base);
  die_with_owner(base);
  mount_keeper_world(args);
  set_hostname(base);
  arrange_descriptors(args);
  begin(base, Stage::Exec);
  const char* const argv[] = {"jailrun-spawner", nullptr};
  end(base, Stage::Exec);
  const long result = sys(SYS_execveat, 6, ptr(""), ptr(argv), ptr(args->envp), uapi::kAtEmptyPath);
  fail(base, Stage::Exec, result);
}

}  // namespace jailrun::child
