// What a process is bound to and limited by, in init and in a warm guest alike: cgroups, ids,
// rlimits, CPUs.
#include "jail/child/steps.h"

namespace jailrun::child {

// Into the v1 leaves, by its own hand (see Cgroup::task_files); clone3 has put it into the v2 one.
void enter_leaves(const ChildArgs* args) {
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

void take_ids(const ChildArgs* args) {
  begin(args, Stage::TakeIds);
  sys(SYS_setsid);  // no terminal, and no signals of the caller's process group
  if (!args->keeps_groups) must(args, Stage::TakeIds, sys(SYS_setgroups, 0, 0));
  must(args, Stage::TakeIds, sys(SYS_setresgid, args->uid, args->uid, args->uid), 1);
  // Capabilities survive: the id that is left behind has no mapping, so it is not this namespace's
  // root.
  must(args, Stage::TakeIds, sys(SYS_setresuid, args->uid, args->uid, args->uid), 2);
  sys(SYS_umask, 022);
  end(args, Stage::TakeIds);
}

void limit_resources(const ChildArgs* args) {
  begin(args, Stage::LimitResources);
  for (unsigned i = 0; i < args->host->rlimit_count; ++i) {
    const std::uint64_t both[2] = {args->host->rlimits[i].value, args->host->rlimits[i].value};
    must(args, Stage::LimitResources,
         sys(SYS_prlimit64, 0, args->host->rlimits[i].resource, ptr(both), 0), i);
  }
  end(args, Stage::LimitResources);
}

// As many of the caller's CPUs as the limit rounds up to, from the one that the scheduler has just
// chosen for this process: moving to another would cost more than the rest of set-up.
void set_affinity(const ChildArgs* args) {
  begin(args, Stage::SetAffinity);
  constexpr unsigned words = sizeof args->host->cpus / sizeof args->host->cpus[0];
  std::uint64_t chosen[words] = {};
  unsigned here = 0;
  sys(SYS_getcpu, ptr(&here), 0, 0);
  unsigned left = (args->plan->cpu_millis + 999) / 1000;
  for (unsigned i = 0; i < words * 64 && left > 0; ++i) {
    const unsigned cpu = (here + i) % (words * 64);
    const std::uint64_t bit = std::uint64_t{1} << (cpu % 64);
    if ((args->host->cpus[cpu / 64] & bit) == 0) continue;
    chosen[cpu / 64] |= bit;
    --left;
  }
  must(args, Stage::SetAffinity, sys(SYS_sched_setaffinity, 0, words * 8, ptr(chosen)));
  end(args, Stage::SetAffinity);
}

}  // namespace jailrun::child
