#include "jail/confine/cgroup.h"

#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "jail/confine/cgroup_files.h"
#include "jail/plan/plan.h"

namespace jailrun {
namespace {

constexpr std::uint64_t kPeriodUs = 100'000;
constexpr const char* kByNothing = "nothing (danger block)";

Error refused(const std::string& limit, const char* file, int error) {
  if (error == EMFILE || error == ENFILE) {
    return Error{Stage::MakeCgroup, limit, error, std::string("cannot open ") + file,
                 "raise the limit of open files"};
  }
  return Error{Stage::MakeCgroup, limit, error,
               "this host does not let jailrun enforce " + limit + " (" + file + ")",
               "run `jailrun doctor` to see what is missing, or name the limit in the policy's "
               "danger block"};
}

// Whoever may not make a group: which of the ways to get one is open here.
const char* no_group_remedy(int error, bool pure) {
  if (error == EROFS)
    return "have it mounted writable in this container (podman run --systemd=always)";
  return pure ? "have one delegated: log in through systemd (`loginctl enable-linger`, `machinectl "
                "shell`), ask a jaild that runs as root, or accept that nothing limits the guest: "
                "--policy python-unlimited"
              : "plain users get none on cgroup v1: boot with systemd.unified_cgroup_hierarchy=1, "
                "ask a jaild that runs as root, or accept that nothing limits the guest: --policy "
                "python-unlimited";
}

std::string cpu_quota(const CgroupLimits& limits) {
  return std::to_string(kPeriodUs * limits.cpu_millis / 1000) + " " + std::to_string(kPeriodUs);
}

// A guest's processes all stand on the CPUs of its limit, often on one: dying, they may use the
// caller's. Only what is many is worth the calls.
void spread(const std::vector<pid_t>& dying) {
  constexpr std::size_t kMany = 4;
  cpu_set_t cpus;
  if (dying.size() < kMany || ::sched_getaffinity(0, sizeof cpus, &cpus) != 0) return;
  int cpu = -1;
  for (const pid_t pid : dying) {
    do {
      cpu = (cpu + 1) % CPU_SETSIZE;
    } while (!CPU_ISSET(cpu, &cpus));
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ::sched_setaffinity(pid, sizeof one, &one);
  }
}

}  // namespace

// A leaf is nobody's until it has its lock. A daemon that starts and sweeps may take it for a dead
// owner's: then it is made again.
Expected<void> Cgroup::make_leaf(Leaf& leaf, const CgroupParent& in) {
  leaf.parent = in.dir.get();
  for (int i = 0; i < kGroupTries; ++i) {
    TRY(const bool ours, try_leaf(leaf, in.path()));
    if (ours) {
      membership_.push_back((in.own == "/" ? "" : in.own) + "/" + name_);
      return {};
    }
    ::poll(nullptr, 0, 1);
  }
  return std::unexpected(
      Error{Stage::MakeCgroup, name_, 0,
            "cgroup " + name_ + " belongs to a live jail of another run directory",
            "let all owners that share cgroups share /run/jailrun as well"});
}

Expected<bool> Cgroup::try_leaf(Leaf& leaf, const std::string& parent) {
  int made = ::mkdirat(leaf.parent, name_.c_str(), 0755);
  // Somebody else's of that name, where this user may make none: the same refusal as without it.
  const bool others =
      made != 0 && errno == EEXIST && ::faccessat(leaf.parent, ".", W_OK, AT_EACCESS) != 0;
  if (others) errno = EACCES;
  if (made != 0 && errno == EEXIST) {
    // The lease says that nobody alive uses this name: a crashed owner left it. Unless somebody
    // leases from another run directory: every owner holds a lock on its leaf.
    const Fd stale(::openat(leaf.parent, name_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!stale.valid() && errno == ENOENT) return false;
    if (stale.valid() && !take_group(leaf.parent, name_, stale.get())) return false;
    kill_members(stale.get());
    await_empty(stale.get(), 1000);
    ::unlinkat(leaf.parent, name_.c_str(), AT_REMOVEDIR);
    made = ::mkdirat(leaf.parent, name_.c_str(), 0755);
    if (made != 0 && errno == EEXIST) {
      return std::unexpected(Error{Stage::MakeCgroup, name_, EBUSY,
                                   "a process in cgroup " + name_ + " hangs in the kernel",
                                   "look for a process in state D there"});
    }
  }
  if (made != 0) {
    const int error = errno;
    return std::unexpected(Error{Stage::MakeCgroup, parent, error,
                                 "cannot create a cgroup below " + parent,
                                 no_group_remedy(error, parents_->pure)});
  }
  leaf.dir = Fd(::openat(leaf.parent, name_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!leaf.dir.valid() && errno != ENOENT) {
    Error failed =
        sys_error(Stage::MakeCgroup, parent, "cannot open the new cgroup below " + parent,
                  "raise the limit of open files");
    ::unlinkat(leaf.parent, name_.c_str(), AT_REMOVEDIR);
    return std::unexpected(std::move(failed));
  }
  if (leaf.dir.valid() && take_group(leaf.parent, name_, leaf.dir.get())) return true;
  leaf.dir.reset();
  return false;
}

Expected<void> Cgroup::limit_v1(const CgroupLimits& limits) {
  const std::string bytes = std::to_string(limits.memory_bytes);
  if (memory_.dir.valid()) {
    if (const int error = write_file_at(memory_.dir.get(), "memory.limit_in_bytes", bytes);
        error != 0) {
      return std::unexpected(refused("limits.memory", "memory.limit_in_bytes", error));
    }
    // Absent where the kernel does not account swap; then there is none to hide in, or it is not
    // counted.
    write_file_at(memory_.dir.get(), "memory.memsw.limit_in_bytes", bytes);
    enforcement_.memory = "cgroup v1 memory.limit_in_bytes";
  }
  if (pids_.dir.valid()) {
    const int error = write_file_at(pids_.dir.get(), "pids.max", std::to_string(limits.pids + 1));
    if (error != 0) return std::unexpected(refused("limits.pids", "pids.max", error));
    enforcement_.pids = "cgroup v1 pids.max";
  }
  if (cpu_.dir.valid()) {
    const std::string quota = std::to_string(kPeriodUs * limits.cpu_millis / 1000);
    // The period is 100 ms unless somebody says otherwise, which check_limits() sees.
    const int error = write_file_at(cpu_.dir.get(), "cpu.cfs_quota_us", quota);
    if (error != 0) return std::unexpected(refused("limits.cpus", "cpu.cfs_quota_us", error));
    enforcement_.cpu = "cgroup v1 cpu.cfs_quota_us";
  }
  return {};
}

Expected<void> Cgroup::limit_v2(const CgroupLimits& limits) {
  const int dir = v2_.dir.get();
  const struct {
    std::string& by;
    bool& in_v2;
    const char* file;
    std::string value;
    std::uint32_t bit;
    const char* name;
  } wanted[] = {{enforcement_.memory, v2_memory_, "memory.max", std::to_string(limits.memory_bytes),
                 kLackMemory, "limits.memory"},
                {enforcement_.pids, v2_pids_, "pids.max", std::to_string(limits.pids + 1),
                 kLackPids, "limits.pids"},
                {enforcement_.cpu, v2_cpu_, "cpu.max", cpu_quota(limits), kLackCpu, "limits.cpus"}};
  for (const auto& limit : wanted) {
    if (!limit.by.empty()) continue;  // v1 enforces it
    const int error = write_file_at(dir, limit.file, limit.value);
    limit.in_v2 = error == 0;
    limit.by = std::string("cgroup v2 ") + limit.file;
    if (error == 0) continue;
    // Without the controller there is no such file.
    if (error != ENOENT || (limits.may_lack & limit.bit) == 0)
      return std::unexpected(refused(limit.name, limit.file, error));
    limit.by = kByNothing;
  }
  if (!v2_memory_) return {};
  // Absent where the kernel does not account swap.
  write_file_at(dir, "memory.swap.max", "0");
  if (const int error = write_file_at(dir, "memory.oom.group", "1"); error != 0)
    return std::unexpected(refused("limits.memory", "memory.oom.group", error));
  return {};
}

// v1 knows no oom.group: the first event lets the owner kill the whole jail.
void Cgroup::watch_oom() {
  if (!memory_.dir.valid()) return;
  Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const Fd control(::openat(memory_.dir.get(), "memory.oom_control", O_RDONLY | O_CLOEXEC));
  const std::string line = std::to_string(event.get()) + " " + std::to_string(control.get());
  if (write_file_at(memory_.dir.get(), "cgroup.event_control", line) == 0)
    oom_event_ = std::move(event);
}

Expected<Cgroup> Cgroup::create(const std::string& name, const CgroupLimits& limits,
                                std::shared_ptr<const CgroupParents> parents,
                                std::optional<std::uint32_t> keeper_uid) {
  constexpr std::uint32_t kAll = kLackMemory | kLackPids | kLackCpu;
  Expected<Cgroup> made = create_leaves(name, limits, std::move(parents), keeper_uid);
  if (made || limits.may_lack != kAll || keeper_uid) return made;
  // A host that gives no group at all: what a policy's danger block accepts by name.
  const int error = made.error().errno_value;
  if (error != EACCES && error != EPERM && error != EROFS && error != ENOENT) return made;
  Cgroup none;
  none.limits_ = limits;
  none.enforcement_ = {kByNothing, kByNothing, kByNothing};
  return none;
}

Expected<Cgroup> Cgroup::create_leaves(const std::string& name, const CgroupLimits& limits,
                                       std::shared_ptr<const CgroupParents> parents,
                                       std::optional<std::uint32_t> keeper_uid) {
  Cgroup group;
  group.name_ = name;
  group.limits_ = limits;
  group.parents_ = std::move(parents);
  if (!group.parents_) {
    TRY(CgroupParents found, find_parents());
    group.parents_ = std::make_shared<const CgroupParents>(std::move(found));
  }
  const CgroupParents& in = *group.parents_;
  TRY_VOID(group.make_leaf(group.v2_, in.v2));
  if (keeper_uid && ::fchownat(group.v2_.dir.get(), "cgroup.procs", *keeper_uid,
                               static_cast<gid_t>(-1), 0) != 0) {
    return std::unexpected(
        sys_error(Stage::MakeCgroup, name, "cannot give a cgroup to the keeper", "run as root"));
  }
  if (!in.pure) {
    const struct {
      Leaf& leaf;
      const CgroupParent& parent;
    } v1[] = {{group.memory_, in.memory}, {group.pids_, in.pids}, {group.cpu_, in.cpu}};
    for (const auto& hierarchy : v1) {
      if (!hierarchy.parent.dir.valid()) continue;
      TRY_VOID(group.make_leaf(hierarchy.leaf, hierarchy.parent));
      group.task_files_.emplace_back(
          ::openat(hierarchy.leaf.dir.get(), "tasks", O_WRONLY | O_CLOEXEC));
    }
    TRY_VOID(group.limit_v1(limits));
  }
  TRY_VOID(group.limit_v2(limits));
  return group;
}

Expected<void> Cgroup::change(const CgroupLimits& limits) {
  limits_ = limits;
  enforcement_ = {};
  if (memory_.dir.valid() || pids_.dir.valid() || cpu_.dir.valid()) TRY_VOID(limit_v1(limits));
  return limit_v2(limits);
}

Cgroup::~Cgroup() {
  if (!v2_.dir.valid()) return;
  kill_members(v2_.dir.get());
  (void)remove();
}

std::string Cgroup::check_limits() const {
  const std::uint64_t page = 4096;
  const struct {
    int dir;
    const char* file;
    std::string expected;
  } checks[] = {
      {memory_.dir.get(), "memory.limit_in_bytes",
       std::to_string(limits_.memory_bytes / page * page)},
      {pids_.dir.get(), "pids.max", std::to_string(limits_.pids + 1)},
      {cpu_.dir.get(), "cpu.cfs_quota_us", std::to_string(kPeriodUs * limits_.cpu_millis / 1000)},
      {cpu_.dir.get(), "cpu.cfs_period_us", std::to_string(kPeriodUs)},
      {v2_memory_ ? v2_.dir.get() : -1, "memory.max",
       std::to_string(limits_.memory_bytes / page * page)},
      {v2_pids_ ? v2_.dir.get() : -1, "pids.max", std::to_string(limits_.pids + 1)},
      {v2_cpu_ ? v2_.dir.get() : -1, "cpu.max", cpu_quota(limits_)},
  };
  for (const auto& check : checks) {
    if (check.dir < 0) continue;
    const std::string seen = read_file_at(check.dir, check.file, 64);
    if (seen != check.expected + "\n") return std::string(check.file) + " is " + seen;
  }
  return {};
}

std::vector<pid_t> Cgroup::members() const { return members_of(v2_.dir.get()); }

std::uint64_t Cgroup::cpu_ns() const {
  return field(read_file_at(v2_.dir.get(), "cpu.stat", 512), "usage_usec") * 1000;
}

// A killed process whose group has used up its share of the CPU, or has to share it with many
// others, or may run on one CPU only, does not die before it gets some: fork storms outlived their
// deadline by 100 ms and more. Once the kill is pending none of them runs an instruction of its own
// any more, so what is left to do is the kernel's, and short.
void Cgroup::kill() const {
  kill_members(v2_.dir.get());
  if (cpu_.dir.valid()) {
    write_file_at(cpu_.dir.get(), "cpu.cfs_quota_us", "-1");
    write_file_at(cpu_.dir.get(), "cpu.shares", "262144");
  } else if (v2_cpu_) {
    write_file_at(v2_.dir.get(), "cpu.max", "max");
    write_file_at(v2_.dir.get(), "cpu.weight", "10000");
  }
  spread(members());
}

CgroupEvidence Cgroup::evidence() const {
  CgroupEvidence e;
  if (!has_leaf()) return e;
  e.cpu_ns = cpu_ns();
  e.cpu_source = "cgroup v2 cpu.stat";
  if (memory_.dir.valid()) {
    const int dir = memory_.dir.get();
    e.memory_peak_bytes = number(read_file_at(dir, "memory.max_usage_in_bytes", 64));
    e.oom_kills = field(read_file_at(dir, "memory.oom_control", 256), "oom_kill");
    e.memory_failures = number(read_file_at(dir, "memory.failcnt", 64)).value_or(0);
    e.memory_source = "cgroup v1 memory.oom_control";
  } else if (v2_memory_) {
    const int dir = v2_.dir.get();
    e.memory_peak_bytes = number(read_file_at(dir, "memory.peak", 64));
    const std::string events = read_file_at(dir, "memory.events", 512);
    e.oom_kills = field(events, "oom_kill");
    e.memory_failures = field(events, "max");
    // "oom" counts in the group whose limit it was, and above it; kills count in the victim's.
    e.oom_outside = e.oom_kills > 0 && field(events, "oom") == 0;
    e.memory_source = "cgroup v2 memory.events";
  }
  const int pids = pids_.dir.valid() ? pids_.dir.get() : v2_pids_ ? v2_.dir.get() : -1;
  if (pids >= 0) {
    e.pids_refused = field(read_file_at(pids, "pids.events", 128), "max");
    e.pids_peak = number(read_file_at(pids, "pids.peak", 64));
    if (e.pids_peak && *e.pids_peak > 0) --*e.pids_peak;  // without the jail's init
    e.pids_source = pids_.dir.valid() ? "cgroup v1 pids.events" : "cgroup v2 pids.events";
  }
  return e;
}

Expected<void> Cgroup::remove() {
  int failed = 0;
  // What is open of a group that is removed stays in the kernel's caches until memory gets short.
  task_files_.clear();
  oom_event_.reset();
  for (Leaf* leaf : {&memory_, &pids_, &cpu_, &v2_}) {
    if (!leaf->dir.valid()) continue;
    int result = ::unlinkat(leaf->parent, name_.c_str(), AT_REMOVEDIR);
    if (result != 0 && errno == EBUSY) {
      // Killed but not yet gone, or a process that the kernel is still taking down.
      await_empty(v2_.dir.get(), 1000);
      result = ::unlinkat(leaf->parent, name_.c_str(), AT_REMOVEDIR);
    }
    if (result != 0 && errno != ENOENT) failed = errno;
    leaf->dir.reset();
  }
  if (failed != 0) {
    return std::unexpected(Error{Stage::Teardown, name_, failed,
                                 "the cgroup " + name_ + " stays behind",
                                 "the next run that leases its uid sweeps it"});
  }
  return {};
}

}  // namespace jailrun
