// World: where the warm jails of one Plan come from.
//
//     owner (jaild) ──clone3──▶ keeper (pid 1 of a pid namespace, root of a user namespace)
//                                 ├─ init of a slot, init of a slot, …
//                                 ├─ zygote (the image's own Python, imports done, one thread)
//                                 └─ guest, guest, …  (cloned by the zygote, children of the
//                                 keeper)
//
// The keeper maps a block of unprivileged host uids and has no right on the host; the image's own
// packages, which the zygote imports, run without any either. With the keeper dies everything in
// its pid namespace, with the owner dies the keeper: nothing outlives its owner, whatever happens.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "jail/child/orders.h"
#include "jail/confine/cgroup.h"
#include "jail/confine/ids.h"
#include "jail/launch/attest.h"
#include "jail/plan/plan.h"

namespace jailrun {

// What ended in the keeper's pid namespace: its direct children are inits, guests and the zygote.
struct Ended {
  pid_t pid;   // as the keeper sees it
  int status;  // as of wait(2)
};

class World {
 public:
  // What start() reads beside this program, none of which others may be able to change.
  static std::vector<std::string> program_files();
  // Builds the namespaces, starts keeper and zygote, waits for neither. `stderr_fd` takes what the
  // zygote's imports print. The Plan is copied. Errors name the stage. Blocks for about 5 ms.
  // `programs`: where jailrun-spawner lies, and ../lib/jailrun beside it; default: as this program.
  static Expected<std::unique_ptr<World>> start(const Plan& plan, int stderr_fd,
                                                const std::string& programs = {});
  ~World();  // kills everything in it and waits for its end
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  const Plan& plan() const { return plan_; }
  // Readable: the zygote is ready (then call zygote_ready), or is dead (EOF).
  int zygote_fd() const { return zygote_.get(); }
  // True once it has said "ready" (imports done, one thread); Error: it died, or cannot be used.
  // `report` gets its own account in one line ("pandas 312 ms, 631 mappings, 62 MiB").
  Expected<bool> zygote_ready(std::string& report);
  pid_t zygote_pid() const { return zygote_pid_; }  // as the keeper sees it
  // Readable: something ended, or the keeper is dead (then nothing of the world lives).
  int keeper_fd() const { return keeper_.get(); }
  // Non-blocking. Nothing: no event waits. Error: the keeper is dead.
  Expected<std::optional<Ended>> next_ended();
  // No more jails from this zygote: it ends when its orders are done. Jails that live go on.
  void retire_zygote();

 private:
  friend class WarmJail;
  World() = default;
  struct Unmap {
    void operator()(child::Report* page) const;
  };
  Expected<void> launch(int stderr_fd, const std::string& programs);
  Expected<void> clone_keeper(child::KeeperArgs& args, const Fd& image, const Fd& run_dir);
  std::optional<std::uint32_t> take_uid();
  void return_uid(std::uint32_t uid) { uid_used_[uid - uid_base_] = false; }

  Plan plan_{};
  child::HostPlan host_{};
  std::unique_ptr<child::Report, Unmap> report_;
  // Destroyed in reverse: what lives (in ~World), then the group, then the lease of its ids.
  std::optional<UidLease> lease_;
  std::optional<WorldGroup> group_;
  std::uint32_t uid_base_ = 0;
  std::uint64_t network_inode_ = 0;
  Namespaces owner_{}, keepers_{};     // this process's own, and the keeper's
  unsigned filters_ = 0;               // this process's
  std::vector<ExpectedMount> mounts_;  // of each of its jails
  std::array<bool, kWorldUids> uid_used_{};
  Fd keeper_, zygote_;
  Fd keeper_pidfd_;
  pid_t keeper_pid_ = 0, zygote_pid_ = 0;
};

}  // namespace jailrun
