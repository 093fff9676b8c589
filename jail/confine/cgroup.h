// Cgroup: one leaf per jail in each hierarchy that enforces something, and what the kernel says
// there.
//
// Pure v2 hosts: one leaf with memory, pids and cpu. Hybrid hosts (memory, pids and cpu on v1): a
// v2 leaf for kill, events and cpu.stat, which need no controller, and v1 leaves for the limits.
// The leaf lies beneath the owner's own group, so that an outer limit holds for the jail as well;
// on pure v2 where find_giving_group() says.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jail/confine/cgroup_files.h"

namespace jailrun {

struct CgroupLimits {
  std::uint64_t memory_bytes;
  std::uint32_t pids;  // of the guest; the jail's init is added
  std::uint32_t cpu_millis;
  std::uint32_t may_lack;  // kLack* bits of plan.h
};

// What the kernel counted; empty where the host has no such counter.
struct CgroupEvidence {
  std::optional<std::uint64_t> cpu_ns, memory_peak_bytes, pids_peak;
  std::uint64_t oom_kills = 0, memory_failures = 0, pids_refused = 0;
  // The kernel killed for another group's limit or for the whole host (v2 tells them apart).
  bool oom_outside = false;
  std::string memory_source, pids_source, cpu_source;  // files that said so
};

// Where a limit is in force, for the Result: "cgroup v1 memory.limit_in_bytes".
struct Enforcement {
  std::string memory, pids, cpu;
};

// The v2 group of a world: the keeper's leaf and those of its jails lie in it, and the keeper's uid
// may clone into them. Destroyed with everything in it.
class WorldGroup {
 public:
  // `name` as for Cgroup; a group that a killed owner left is emptied first.
  static Expected<WorldGroup> create(const std::string& name, std::uint32_t keeper_uid);
  WorldGroup(WorldGroup&&) = default;
  WorldGroup& operator=(WorldGroup&&) = default;
  ~WorldGroup();
  int keeper_fd() const { return keeper_.get(); }  // for CLONE_INTO_CGROUP
  // Where the leaves of its jails lie.
  const std::shared_ptr<const CgroupParents>& parents() const { return parents_; }

 private:
  WorldGroup() = default;
  std::string name_;
  std::shared_ptr<const CgroupParents> parents_;
  Fd parent_, keeper_;
};

// Ends and removes what owners that were killed left behind: groups whose lock nobody holds. Gives
// their names.
std::vector<std::string> sweep_cgroups();

class Cgroup {
 public:
  // `name` must be unique among live jails (it carries the leased uid); a leaf of that name that a
  // crashed owner left is emptied and used again. Fails where a limit cannot be enforced and may
  // not be lacking.
  // `parents`: where its leaves lie, default below this process's own groups; `keeper_uid` may
  // clone into the v2 leaf.
  static Expected<Cgroup> create(const std::string& name, const CgroupLimits& limits,
                                 std::shared_ptr<const CgroupParents> parents = nullptr,
                                 std::optional<std::uint32_t> keeper_uid = std::nullopt);

  Cgroup(Cgroup&&) = default;
  Cgroup& operator=(Cgroup&&) = default;
  ~Cgroup();  // kills what is left and removes the leaves

  // Other limits, while nobody in it runs.
  Expected<void> change(const CgroupLimits& limits);
  // False: this host gives none, and every limit may be lacking. Then nothing is counted, and the
  // end of a jail's pid namespace is the end of all its processes.
  bool has_leaf() const { return v2_.dir.valid(); }
  int v2_fd() const { return v2_.dir.get(); }  // for CLONE_INTO_CGROUP
  // Open `tasks` files of the v1 leaves: whoever writes "0" into one is in it. A thread that moves
  // itself needs no lock of the kernel's; moving another one by its pid waits for an RCU grace
  // period, up to 15 ms.
  const std::vector<Fd>& task_files() const { return task_files_; }
  // Reads the limit files back: an empty string, or what differs.
  std::string check_limits() const;
  // Pids in the v2 leaf as this process sees them.
  std::vector<pid_t> members() const;
  // The leaves' paths as in /proc/PID/cgroup, to be found there for each member.
  const std::vector<std::string>& membership() const { return membership_; }

  std::uint64_t cpu_ns() const;
  // Every process of it; the rest of their lives gets as much CPU as it needs.
  void kill() const;
  // From here on oom_event() tells. Called when the guest runs: until then set-up is what counts,
  // and an out-of-memory before shows in evidence() all the same.
  void watch_oom();
  // An eventfd that becomes readable on the first out-of-memory in the v1 leaf; -1 on v2, where the
  // kernel kills the whole group by itself (memory.oom.group).
  int oom_event() const { return oom_event_.get(); }
  CgroupEvidence evidence() const;
  const Enforcement& enforcement() const { return enforcement_; }
  // Removes the leaves once they are empty; names what stays.
  Expected<void> remove();

 private:
  struct Leaf {
    int parent = -1;  // of parents_
    Fd dir;
  };
  Cgroup() = default;
  static Expected<Cgroup> create_leaves(const std::string& name, const CgroupLimits& limits,
                                        std::shared_ptr<const CgroupParents> parents,
                                        std::optional<std::uint32_t> keeper_uid);
  Expected<void> make_leaf(Leaf& leaf, const CgroupParent& in);
  // False where somebody else has it, or had it just now.
  Expected<bool> try_leaf(Leaf& leaf, const std::string& parent);
  Expected<void> limit_v1(const CgroupLimits& limits);
  Expected<void> limit_v2(const CgroupLimits& limits);

  std::string name_;
  std::shared_ptr<const CgroupParents> parents_;
  Leaf v2_, memory_, pids_, cpu_;  // v1 ones are empty on pure v2
  bool v2_memory_ = false, v2_pids_ = false, v2_cpu_ = false;
  Fd oom_event_;
  Enforcement enforcement_;
  CgroupLimits limits_{};
  std::vector<std::string> membership_;
  std::vector<Fd> task_files_;
};

}  // namespace jailrun
