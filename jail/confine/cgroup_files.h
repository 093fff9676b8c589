// Reading and writing the cgroup file systems: what Cgroup and WorldGroup share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "jail/sys/fd.h"

namespace jailrun {

inline constexpr const char* kCgroupMount = "/sys/fs/cgroup";

// Where this process's groups lie.
struct Hierarchy {
  bool pure;            // no v1
  std::string v2_root;  // mount point
  std::string own;      // the v2 group below which leaves are made
  std::string table;    // /proc/self/cgroup
};
Expected<Hierarchy> find_hierarchy();

// The path of this process's group in a hierarchy, from /proc/self/cgroup: "" names v2.
std::optional<std::string> own_group(const std::string& table, std::string_view controller);

std::optional<std::uint64_t> number(const std::string& text);
// The value after "KEY " at the start of a line; 0 where there is none.
std::uint64_t field(const std::string& text, std::string_view key);

// Kills every process in a group and below it.
void kill_members(int dir);
// Waits until a v2 group is empty: cgroup.events is a file that poll(2) watches.
void await_empty(int dir, int timeout_ms);

}  // namespace jailrun
