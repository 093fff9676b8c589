#include "jail/confine/cgroup.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>

#include "jail/plan/plan.h"
#include "jail/sys/uapi.h"

namespace jailrun {
namespace {

constexpr const char* kMount = "/sys/fs/cgroup";
constexpr std::uint64_t kPeriodUs = 100'000;

// The path of this process's group in a hierarchy, from /proc/self/cgroup: "" names v2.
std::optional<std::string> own_group(const std::string& table, std::string_view controller) {
  for (std::size_t begin = 0; begin < table.size();) {
    std::size_t end = table.find('\n', begin);
    if (end == std::string::npos) end = table.size();
    const std::string_view line(table.data() + begin, end - begin);
    begin = end + 1;
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    std::string_view names = line.substr(first + 1, second - first - 1);
    std::string path(line.substr(second + 1));
    if (controller.empty()) {
      if (names.empty()) return path;
      continue;
    }
    while (!names.empty()) {
      const std::size_t comma = std::min(names.find(','), names.size());
      if (names.substr(0, comma) == controller) return path;
      names.remove_prefix(std::min(comma + 1, names.size()));
    }
  }
  return std::nullopt;
}

bool is_v2(const std::string& path) {
  struct statfs fs{};
  return ::statfs(path.c_str(), &fs) == 0 && fs.f_type == uapi::kCgroup2Magic;
}

std::optional<std::uint64_t> number(const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

// The value after "KEY " at the start of a line.
std::uint64_t field(const std::string& text, std::string_view key) {
  for (std::size_t at = 0; (at = text.find(key, at)) != std::string::npos; at += key.size()) {
    const bool line_start = at == 0 || text[at - 1] == '\n';
    if (!line_start || text[at + key.size()] != ' ') continue;
    return number(text.substr(at + key.size() + 1, 20)).value_or(0);
  }
  return 0;
}

Error refused(const std::string& limit, const char* file, int error) {
  return Error{Stage::MakeCgroup, limit, error,
               "this host does not let jailrun enforce " + limit + " (" + file + ")",
               "run `jailrun doctor` to see what is missing, or name the limit in the policy's "
               "danger block"};
}

void kill_members(int dir) {
  if (write_file_at(dir, "cgroup.kill", "1") == 0) return;
  // v1, or a kernel before 5.14.
  const std::string procs = read_file_at(dir, "cgroup.procs");
  for (const char* at = procs.c_str(); *at != 0;) {
    char* end = nullptr;
    const long pid = std::strtol(at, &end, 10);
    if (end == at) break;
    ::kill(static_cast<pid_t>(pid), SIGKILL);
    at = *end == '\n' ? end + 1 : end;
  }
}

// Waits until a v2 leaf is empty: cgroup.events is a file that poll(2) watches.
void await_empty(int dir, int timeout_ms) {
  const Fd events(::openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC));
  if (!events.valid()) return;
  char buffer[128];
  const ssize_t n = ::pread(events.get(), buffer, sizeof buffer - 1, 0);
  if (n <= 0) return;
  buffer[n] = 0;
  if (std::string(buffer).find("populated 0") != std::string::npos) return;
  pollfd entry{events.get(), POLLPRI, 0};
  ::poll(&entry, 1, timeout_ms);
}

}  // namespace

Expected<void> Cgroup::make_leaf(Leaf& leaf, const std::string& root, const std::string& own) {
  const std::string parent = root + own;
  leaf.parent = Fd(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!leaf.parent.valid()) {
    return std::unexpected(sys_error(Stage::MakeCgroup, parent,
                                     "cannot open the own cgroup " + parent,
                                     "run where /sys/fs/cgroup shows this process's groups"));
  }
  int made = ::mkdirat(leaf.parent.get(), name_.c_str(), 0755);
  if (made != 0 && errno == EEXIST) {
    // The lease says that nobody alive uses this name: a crashed owner left it. Unless somebody
    // leases from another run directory: every owner holds a lock on its leaf.
    const Fd stale(::openat(leaf.parent.get(), name_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (stale.valid() && ::flock(stale.get(), LOCK_EX | LOCK_NB) != 0) {
      return std::unexpected(
          Error{Stage::MakeCgroup, name_, 0,
                "cgroup " + name_ + " belongs to a live jail of another run directory",
                "let all owners that share cgroups share /run/jailrun as well"});
    }
    kill_members(stale.get());
    await_empty(stale.get(), 1000);
    ::unlinkat(leaf.parent.get(), name_.c_str(), AT_REMOVEDIR);
    made = ::mkdirat(leaf.parent.get(), name_.c_str(), 0755);
  }
  if (made != 0) {
    return std::unexpected(
        sys_error(Stage::MakeCgroup, parent, "cannot create a cgroup below " + parent,
                  "run as root or have the group delegated; see `jailrun doctor`"));
  }
  leaf.dir = Fd(::openat(leaf.parent.get(), name_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!leaf.dir.valid() || ::flock(leaf.dir.get(), LOCK_EX | LOCK_NB) != 0) {
    Error failed =
        sys_error(Stage::MakeCgroup, parent, "cannot open the new cgroup below " + parent,
                  "raise the limit of open files");
    ::unlinkat(leaf.parent.get(), name_.c_str(), AT_REMOVEDIR);
    return std::unexpected(std::move(failed));
  }
  membership_.push_back((own == "/" ? "" : own) + "/" + name_);
  return {};
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
  if (enforcement_.memory.empty() &&
      write_file_at(dir, "memory.max", std::to_string(limits.memory_bytes)) == 0) {
    write_file_at(dir, "memory.swap.max", "0");
    if (const int error = write_file_at(dir, "memory.oom.group", "1"); error != 0) {
      return std::unexpected(refused("limits.memory", "memory.oom.group", error));
    }
    v2_memory_ = true;
    enforcement_.memory = "cgroup v2 memory.max";
  }
  if (enforcement_.pids.empty() &&
      write_file_at(dir, "pids.max", std::to_string(limits.pids + 1)) == 0) {
    v2_pids_ = true;
    enforcement_.pids = "cgroup v2 pids.max";
  }
  const std::string quota =
      std::to_string(kPeriodUs * limits.cpu_millis / 1000) + " " + std::to_string(kPeriodUs);
  if (enforcement_.cpu.empty() && write_file_at(dir, "cpu.max", quota) == 0) {
    enforcement_.cpu = "cgroup v2 cpu.max";
  }
  const struct {
    std::string& by;
    std::uint32_t bit;
    const char* name;
  } required[] = {{enforcement_.memory, kLackMemory, "limits.memory"},
                  {enforcement_.pids, kLackPids, "limits.pids"},
                  {enforcement_.cpu, kLackCpu, "limits.cpus"}};
  for (const auto& limit : required) {
    if (!limit.by.empty()) continue;
    if ((limits.may_lack & limit.bit) == 0)
      return std::unexpected(refused(limit.name, "no cgroup controller", 0));
    limit.by = "nothing (danger block)";
  }
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

Expected<Cgroup> Cgroup::create(const std::string& name, const CgroupLimits& limits) {
  Cgroup group;
  group.name_ = name;
  group.limits_ = limits;
  const std::string table = read_file_at(AT_FDCWD, "/proc/self/cgroup");
  if (table.empty()) {
    return std::unexpected(sys_error(Stage::MakeCgroup, "/proc/self/cgroup",
                                     "cannot read /proc/self/cgroup",
                                     "run where /proc is mounted"));
  }
  const std::string mount = kMount;
  const bool pure = is_v2(mount);
  const std::string v2_root = pure ? mount : mount + "/unified";
  const auto own_v2 = own_group(table, "");
  if (!own_v2 || !is_v2(v2_root)) {
    return std::unexpected(Error{Stage::MakeCgroup, v2_root, 0,
                                 "no cgroup v2 hierarchy at " + v2_root,
                                 "mount one: `mount -t cgroup2 none " + v2_root + "`"});
  }
  std::string parent = *own_v2;
  if (pure && ::geteuid() == 0) {
    // A group with processes cannot give controllers to children, except the root: go there.
    const std::string own_control =
        read_file_at(AT_FDCWD, (mount + parent + "/cgroup.subtree_control").c_str());
    if (own_control.find("memory") == std::string::npos) {
      const Fd root(::open(mount.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
      write_file_at(root.get(), "cgroup.subtree_control", "+memory +pids +cpu");
      ::mkdirat(root.get(), "jailrun", 0755);
      const Fd top(::openat(root.get(), "jailrun", O_PATH | O_DIRECTORY | O_CLOEXEC));
      write_file_at(top.get(), "cgroup.subtree_control", "+memory +pids +cpu");
      parent = "/jailrun";
    }
  }
  TRY_VOID(group.make_leaf(group.v2_, v2_root, parent));
  if (!pure) {
    const struct {
      Leaf& leaf;
      const char* controller;
    } v1[] = {{group.memory_, "memory"}, {group.pids_, "pids"}, {group.cpu_, "cpu"}};
    for (const auto& hierarchy : v1) {
      const auto own = own_group(table, hierarchy.controller);
      if (!own) continue;  // no such hierarchy; limit_v2 decides whether that may be
      TRY_VOID(group.make_leaf(hierarchy.leaf, mount + "/" + hierarchy.controller, *own));
      group.task_files_.emplace_back(
          ::openat(hierarchy.leaf.dir.get(), "tasks", O_WRONLY | O_CLOEXEC));
    }
    TRY_VOID(group.limit_v1(limits));
  }
  TRY_VOID(group.limit_v2(limits));
  return group;
}

Cgroup::~Cgroup() {
  if (!v2_.dir.valid()) return;
  kill();
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
  };
  for (const auto& check : checks) {
    if (check.dir < 0) continue;
    const std::string seen = read_file_at(check.dir, check.file, 64);
    if (seen != check.expected + "\n") return std::string(check.file) + " is " + seen;
  }
  return {};
}

std::vector<pid_t> Cgroup::members() const {
  std::vector<pid_t> pids;
  const std::string text = read_file_at(v2_.dir.get(), "cgroup.procs");
  for (const char* at = text.c_str(); *at != 0;) {
    char* end = nullptr;
    const long pid = std::strtol(at, &end, 10);
    if (end == at) break;
    pids.push_back(static_cast<pid_t>(pid));
    at = *end == '\n' ? end + 1 : end;
  }
  return pids;
}

std::uint64_t Cgroup::cpu_ns() const {
  return field(read_file_at(v2_.dir.get(), "cpu.stat", 512), "usage_usec") * 1000;
}

void Cgroup::kill() const { kill_members(v2_.dir.get()); }

CgroupEvidence Cgroup::evidence() const {
  CgroupEvidence e;
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
  for (Leaf* leaf : {&memory_, &pids_, &cpu_, &v2_}) {
    if (!leaf->dir.valid()) continue;
    int result = ::unlinkat(leaf->parent.get(), name_.c_str(), AT_REMOVEDIR);
    if (result != 0 && errno == EBUSY) {
      // Killed but not yet gone, or a process that the kernel is still taking down.
      await_empty(v2_.dir.get(), 1000);
      result = ::unlinkat(leaf->parent.get(), name_.c_str(), AT_REMOVEDIR);
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
