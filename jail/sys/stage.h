// Stage: every step of confinement, in the order in which it is done.
//
// One list, four uses: the {stage, errno} a failing step reports, the timeline of each Result, the
// fault tests (fail each stage once) and the table in jail/README.md, which a test compares with
// this file.
#pragma once

#include <cstdint>
#include <string_view>

namespace jailrun {

// X(Enumerator, "name", by, "why"): `by` says who performs the step.
//   owner   the supervising process, on the host
//   init    the trusted pid 1 of the jail, before it gives up its rights
//   guest   the process that becomes the guest, already without rights
#define JAILRUN_STAGES(X)                                                                          \
  X(OpenImage, "open_image", owner, "the rootfs is entered by descriptor, never by a path twice")  \
  X(LeaseUid, "lease_uid", owner, "a host uid that no other live jail has, held by a file lock")   \
  X(OpenInputs, "open_inputs", owner,                                                              \
    "inputs are opened with the caller's rights, before any jail")                                 \
  X(MakeCgroup, "make_cgroup", owner,                                                              \
    "leaves with every limit set before anything can run in them")                                 \
  X(OpenStreams, "open_streams", owner, "private pipes: the guest gets no descriptor of the host") \
  X(JoinNetwork, "join_network", owner, "a network namespace without a way out")                   \
  X(Clone, "clone", owner, "user, pid, mount, ipc, uts and cgroup namespaces in one call")         \
  X(MapIds, "map_ids", owner, "one id inside, one unprivileged id outside")                        \
  X(AttachCgroup, "attach_cgroup", init, "limits hold before anything else is done in there")      \
  X(AwaitOwner, "await_owner", init, "blocked until its ids are mapped")                           \
  X(TakeIds, "take_ids", init, "no root id, no supplementary group")                               \
  X(DieWithOwner, "die_with_owner", init,                                                          \
    "a dead owner leaves no live jail; a change of id resets it")                                  \
  X(MountRoot, "mount_root", init, "the image read-only, nosuid, nodev, private")                  \
  X(MountDev, "mount_dev", init, "null, zero, full, random, urandom and nothing else")             \
  X(MountTmpfs, "mount_tmpfs", init, "capped in bytes and inodes; held open by the owner")         \
  X(MountData, "mount_data", init, "inputs read-only under the names that the caller gave")        \
  X(MountProc, "mount_proc", init, "only the jail's own processes, no host statistics")            \
  X(PivotRoot, "pivot_root", init, "beyond this point the host file system is unreachable")        \
  X(SetHostname, "set_hostname", init, "a neutral name: the host's tells who the user is")         \
  X(LimitResources, "limit_resources", init, "rlimits bound what no cgroup counts")                \
  X(SetAffinity, "set_affinity", init, "the CPU limit as libraries see it")                        \
  X(NewCgroupNamespace, "new_cgroup_namespace", init, "after the attach, so that / is the leaf")   \
  X(DropCapabilities, "drop_capabilities", init, "no capability in any of the five sets")          \
  X(NoNewPrivs, "no_new_privs", init, "exec can never give back what was dropped")                 \
  X(RestrictPaths, "restrict_paths", init, "Landlock: a second wall for files, sockets, signals")  \
  X(Spawn, "spawn", init, "the guest is never pid 1: it could ignore its own signals there")       \
  X(JoinSlot, "join_slot", guest, "a warm guest enters namespaces that were built beforehand")     \
  X(CloseDescriptors, "close_descriptors", guest, "nothing of the host but three pipes")           \
  X(FilterSyscalls, "filter_syscalls", guest, "last, so that set-up needs no wider filter")        \
  X(PreTouch, "pre_touch", guest, "pages that a run dirties are copied before it waits")           \
  X(AwaitAttestation, "await_attestation", guest,                                                  \
    "blocked until the owner has seen it from outside")                                            \
  X(Attest, "attest", owner, "what the kernel says of the guest must equal the plan")              \
  X(Exec, "exec", guest, "the first instruction of the guest comes after this")                    \
  X(Run, "run", owner, "output, deadlines and limits are watched from outside")                    \
  X(Kill, "kill", owner, "the whole cgroup, however many processes there are")                     \
  X(Collect, "collect", owner, "files leave only when nobody can change them any more")            \
  X(Teardown, "teardown", owner, "no process, mount, cgroup, file or descriptor stays")

enum class Stage : std::uint8_t {
  None = 0,
#define X(id, name, by, why) id,
  JAILRUN_STAGES(X)
#undef X
      Count
};

inline constexpr std::size_t kStageCount = static_cast<std::size_t>(Stage::Count);

struct StageInfo {
  std::string_view name;  // as in Result.timeline and in messages
  std::string_view by;    // owner, init or guest
  std::string_view why;
};

inline constexpr StageInfo kStages[kStageCount] = {{"none", "", ""},
#define X(id, name, by, why) {name, #by, why},
                                                   JAILRUN_STAGES(X)
#undef X
};

constexpr const StageInfo& info(Stage stage) { return kStages[static_cast<std::size_t>(stage)]; }

}  // namespace jailrun
