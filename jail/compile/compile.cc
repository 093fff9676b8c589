#include "jail/compile/compile.h"

#include <cmath>
#include <cstring>

#include "jail/spec/environment.h"
#include "jail/sys/landlock.h"

namespace jailrun {
namespace {

void copy_name(char (&to)[64], const std::string& from) {
  static_assert(sizeof to == 64);  // names have at most 63 letters: is_name()
  std::memcpy(to, from.data(), std::min(from.size(), sizeof to - 1));
}

void copy_limits(const Spec& spec, Plan& plan) {
  plan.memory_bytes = spec.limits.memory_bytes.get();
  plan.pids = spec.limits.pids.get();
  plan.cpu_millis = static_cast<std::uint32_t>(std::ceil(spec.limits.cpus.get() * 1000 - 1e-6));
  plan.wall_ns = spec.limits.wall_ns.get();
  plan.cpu_ns = spec.limits.cpu_ns.get();
  plan.output_bytes = spec.limits.output_bytes.get();
  plan.collect_files = spec.limits.collect_files.get();
  plan.collect_bytes = spec.limits.collect_bytes.get();
  const std::uint32_t inodes = spec.files.inodes.get();
  plan.tmp = {spec.files.tmp_bytes.get(), inodes};
  plan.work = {spec.files.work_bytes.get(), inodes};
  plan.shm = {spec.files.shm_bytes.get(), inodes};
  for (const SpecDanger& danger : spec.dangers) {
    if (const LimitKind* kind = std::get_if<LimitKind>(&danger.weakened)) {
      plan.may_lack |= *kind == LimitKind::Memory ? kLackMemory
                       : *kind == LimitKind::Pids ? kLackPids
                                                  : kLackCpu;
    }
  }
}

// What no cgroup counts. Never RLIMIT_AS: it breaks allocators; never RLIMIT_NPROC: the cgroup
// counts, and by jail. Where the hard limit of this process is lower the runtime keeps that one.
void set_rlimits(const Spec& spec, Plan& plan) {
  constexpr std::uint64_t kStackBytes =
      8 * kMiB;  // what threads get by default; deep recursion ends there
  constexpr std::uint64_t kPendingSignals = 1024;  // also POSIX timers: each takes one
  const RlimitPlan all[] = {
      {RLIMIT_NOFILE, spec.limits.open_files.get()},
      {RLIMIT_FSIZE, spec.limits.file_size_bytes.get()},
      {RLIMIT_CORE,
       1},  // 0 does not stop a piped core_pattern, which runs on the host; 1 does (core(5))
      {RLIMIT_MEMLOCK, 0},  // locked pages cannot be reclaimed
      {RLIMIT_MSGQUEUE, 0},
      {RLIMIT_SIGPENDING, kPendingSignals},
      {RLIMIT_STACK, kStackBytes},
      {RLIMIT_NICE, 0},
      {RLIMIT_RTPRIO, 0},
  };
  static_assert(std::size(all) <= std::tuple_size_v<decltype(plan.rlimits)>);
  for (const RlimitPlan& each : all) plan.rlimits[plan.rlimit_count++] = each;
}

Expected<void> set_environment(const Spec& spec, Plan& plan) {
  for (const std::string& variable : expanded_environment(spec)) {
    if (plan.env_bytes + variable.size() + 1 > plan.env.size()) {
      return std::unexpected(
          Error{Stage::None, "environment", 0,
                "the environment of policy " + spec.name + " is longer than 8 KiB",
                "shorten or drop variables"});
    }
    std::memcpy(plan.env.data() + plan.env_bytes, variable.c_str(), variable.size() + 1);
    plan.env_bytes += static_cast<std::uint32_t>(variable.size() + 1);
    ++plan.env_count;
  }
  return {};
}

}  // namespace

Expected<std::unique_ptr<Plan>> compile(const Spec& spec) {
  auto plan = std::make_unique<Plan>();
  std::memset(static_cast<void*>(plan.get()), 0,
              sizeof *plan);  // padding too: equal Specs, equal bytes
  plan->magic = Plan::kMagic;
  plan->version = Plan::kVersion;
  plan->size = sizeof(Plan);
  copy_name(plan->policy, spec.name);
  copy_name(plan->image, spec.image);
  copy_limits(spec, *plan);
  plan->exec_writable = spec.files.exec;
  plan->packages = spec.packages;
  plan->network = spec.network == SpecNetwork::Loopback ? NetworkMode::Loopback : NetworkMode::None;
  plan->pool = {spec.pool.min.get(), spec.pool.max.get(), spec.pool.children.get(),
                spec.pool.age_ns.get(), spec.pool.share == PoolShare::Policy};
  set_rlimits(spec, *plan);
  plan->landlock = landlock_plan(landlock_abi(), plan->network);
  TRY_VOID(set_environment(spec, *plan));
  TRY(const std::vector<sock_filter> filter, compile_filter(spec));
  if (filter.size() > plan->filter.size()) {
    return std::unexpected(
        Error{Stage::None, "syscalls", 0,
              "the filter of policy " + spec.name + " has " + std::to_string(filter.size()) +
                  " instructions, " + std::to_string(plan->filter.size()) + " fit",
              "name fewer groups of system calls, or rules with fewer arguments"});
  }
  plan->filter_length = static_cast<std::uint32_t>(filter.size());
  std::copy(filter.begin(), filter.end(), plan->filter.begin());
  return plan;
}

}  // namespace jailrun
