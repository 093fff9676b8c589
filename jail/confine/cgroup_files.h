// Reading and writing the cgroup file systems: what Cgroup and WorldGroup share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jail/sys/fd.h"

namespace jailrun {

inline constexpr const char* kCgroupMount = "/sys/fs/cgroup";

// A group below which leaves are made, in one hierarchy.
struct CgroupParent {
  std::string mount;  // where the hierarchy is mounted
  std::string own;    // the group, as in /proc/PID/cgroup
  Fd dir;             // empty: there is no such hierarchy
  std::string path() const { return mount + own; }
};

// Where this process's groups lie: v2, and the v1 hierarchies of a hybrid host.
struct CgroupParents {
  bool pure = false;  // no v1
  CgroupParent v2, memory, pids, cpu;
};
Expected<CgroupParents> find_parents();

std::optional<std::uint64_t> number(const std::string& text);
// The value after "KEY " at the start of a line; 0 where there is none.
std::uint64_t field(const std::string& text, std::string_view key);

// The processes in a group, as this process sees them.
std::vector<pid_t> members_of(int dir);
// Takes the lock that the owner of a group holds; whether `dir` is ours now and still what `name`
// is in `parent`. Who made a group and does not get it tries again this often, a millisecond apart:
// a daemon that starts sweeps what has no lock, and holds an empty group for a moment.
inline constexpr int kGroupTries = 50;
bool take_group(int parent, const std::string& name, int dir);

// Kills every process in a group and below it.
void kill_members(int dir);
// Waits until a v2 group is empty: cgroup.events is a file that poll(2) watches.
void await_empty(int dir, int timeout_ms);

}  // namespace jailrun
