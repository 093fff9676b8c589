#include "jail/confine/cgroup_files.h"

#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "jail/confine/delegation.h"
#include "jail/sys/uapi.h"

namespace jailrun {
namespace {

bool is_v2(const std::string& path) {
  struct statfs fs{};
  return ::statfs(path.c_str(), &fs) == 0 && fs.f_type == uapi::kCgroup2Magic;
}

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

Expected<CgroupParent> open_parent(const std::string& mount, const std::string& own) {
  CgroupParent parent{mount, own, {}};
  parent.dir = Fd(::open(parent.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.dir.valid()) return parent;
  return std::unexpected(sys_error(Stage::MakeCgroup, parent.path(),
                                   "cannot open the own cgroup " + parent.path(),
                                   "run where /sys/fs/cgroup shows this process's groups"));
}

}  // namespace

std::optional<std::uint64_t> number(const std::string& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  return value;
}

std::uint64_t field(const std::string& text, std::string_view key) {
  for (std::size_t at = 0; (at = text.find(key, at)) != std::string::npos; at += key.size()) {
    const bool line_start = at == 0 || text[at - 1] == '\n';
    if (!line_start || text[at + key.size()] != ' ') continue;
    return number(text.substr(at + key.size() + 1, 20)).value_or(0);
  }
  return 0;
}

bool take_group(int parent, const std::string& name, int dir) {
  struct stat ours{};
  struct stat there{};
  return ::flock(dir, LOCK_EX | LOCK_NB) == 0 && ::fstat(dir, &ours) == 0 &&
         ::fstatat(parent, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
         ours.st_ino == there.st_ino && ours.st_dev == there.st_dev;
}

std::vector<pid_t> members_of(int dir) {
  std::vector<pid_t> pids;
  const std::string procs = read_file_at(dir, "cgroup.procs");
  for (const char* at = procs.c_str(); *at != 0;) {
    char* end = nullptr;
    const long pid = std::strtol(at, &end, 10);
    if (end == at) break;
    pids.push_back(static_cast<pid_t>(pid));
    at = *end == '\n' ? end + 1 : end;
  }
  return pids;
}

void kill_members(int dir) {
  if (write_file_at(dir, "cgroup.kill", "1") == 0) return;
  // v1, or a kernel before 5.14. A number that was read may be another process's by now: only who
  // is still a member when its pidfd is open is ours.
  std::vector<std::pair<pid_t, Fd>> open;
  for (const pid_t pid : members_of(dir))
    open.emplace_back(pid, Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))));
  const std::vector<pid_t> members = members_of(dir);
  for (const auto& [pid, pidfd] : open) {
    if (pidfd.valid() && std::ranges::find(members, pid) != members.end())
      ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
  }
}

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

Expected<CgroupParents> find_parents() {
  const std::string table = read_file_at(AT_FDCWD, "/proc/self/cgroup");
  if (table.empty()) {
    return std::unexpected(sys_error(Stage::MakeCgroup, "/proc/self/cgroup",
                                     "cannot read /proc/self/cgroup",
                                     "run where /proc is mounted"));
  }
  const std::string mount = kCgroupMount;
  const bool pure = is_v2(mount);
  const std::string v2_root = pure ? mount : mount + "/unified";
  const auto own_v2 = own_group(table, "");
  if (!own_v2 || !is_v2(v2_root)) {
    return std::unexpected(Error{Stage::MakeCgroup, v2_root, 0,
                                 "no cgroup v2 hierarchy at " + v2_root,
                                 "mount one: `mount -t cgroup2 none " + v2_root + "`"});
  }
  std::string parent = *own_v2;
  if (pure) {
    TRY(parent, find_giving_group(mount, *own_v2));
  }
  CgroupParents parents;
  parents.pure = pure;
  TRY(parents.v2, open_parent(v2_root, parent));
  if (pure) return parents;
  const struct {
    CgroupParent& parent;
    const char* controller;
  } v1[] = {{parents.memory, "memory"}, {parents.pids, "pids"}, {parents.cpu, "cpu"}};
  for (const auto& hierarchy : v1) {
    const auto own = own_group(table, hierarchy.controller);
    if (!own) continue;  // no such hierarchy; limit_v2 decides whether that may be
    TRY(hierarchy.parent, open_parent(mount + "/" + hierarchy.controller, *own));
  }
  return parents;
}

}  // namespace jailrun
