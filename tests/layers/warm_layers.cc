#include "tests/layers/warm_layers.h"

#include <sys/prctl.h>

#include <array>
#include <string_view>
#include <utility>

#include "jail/sys/uapi.h"
#include "tests/layers/caller.h"

namespace layers {

// What a slot's init and a guest do as in a cold jail has the cold wall's name; the rest only a
// warm jail has.
const Layer kWarmLayers[] = {
    {"slot: user namespace", "the keeper's clone without CLONE_NEWUSER"},
    {"slot: mount namespace", "without CLONE_NEWNS"},
    {"slot: ipc namespace", "without CLONE_NEWIPC"},
    {"slot: uts namespace", "without CLONE_NEWUTS"},
    {"slot: pid namespace", "without CLONE_NEWPID"},
    {"slot: id map", "another uid of the world than the leased one"},
    {"slot joined", "the zygote's child joins none of the slot's namespaces"},
    {"born in the slot", "the zygote enters no pid namespace first: it is still in another jail's"},
    {"cgroup namespace", "no unshare(CLONE_NEWCGROUP)"},
    {"in its cgroup", "moved out of it before it is attested"},
    {"control closed", "the guest keeps the channel on which it was let go"},
    {"owner's page unmapped", "the guest keeps the page that its owner reads"},
    {"signals reset", "what libc ignored in the zygote stays ignored"},
    {"descriptors closed", "no close_range: what the zygote holds stays"},
    {"guest gid", "no setresgid"},
    {"guest uid", "no setresuid"},
    {"own session", "init without setsid"},
    {"tmpfs nosuid", "/work, /tmp and /dev/shm without it"},
    {"tmpfs size", "the same, as large as half of the machine"},
    {"tmpfs inodes", "the same, as many as there can be"},
    {"proc read-only", "the mount of /proc without it"},
    {"proc subset", "all of /proc, not processes alone"},
    {"proc hidepid", "init is seen"},
    {"old root detached", "no umount2: the keeper's tree stays below"},
    {"neutral host name", "no sethostname"},
    {"CPUs of the limit", "no sched_setaffinity"},
    {"rlimit open files", "no prlimit"},
    {"rlimit file size", "no prlimit"},
    {"rlimit core", "no prlimit"},
    {"rlimit locked memory", "no prlimit"},
    {"rlimit message queues", "no prlimit"},
    {"rlimit pending signals", "no prlimit"},
    {"ordinary priority", "the daemon's nice value stays"},
    {"ordinary I/O class", "the daemon's real-time class stays"},
    {"bounding set", "no PR_CAPBSET_DROP"},
    {"capability sets", "no capset"},
    {"no new privileges", "no PR_SET_NO_NEW_PRIVS by the guest"},
    {"Landlock", "no landlock_restrict_self"},
    {"Landlock scopes", "a ruleset without scopes"},
    {"seccomp filter", "no filter at all"},
    {nullptr, nullptr},
};

namespace {

using without::Feature;
using without::kGoOn;
namespace uapi = jailrun::uapi;

template <std::uint64_t Flag>
long slot_without(const Call& call) {
  std::uint64_t flags = 0;
  if (who(call) != Who::Keeper || !fetch(call, call.args[0], &flags)) return kGoOn;
  flags &= ~Flag;
  store(call, call.args[0], &flags);
  return kGoOn;
}

// "1000 5 1": uid 9 of the world instead.
long other_map_of_slot(const Call& call) {
  const std::string line = text_at(call, call.args[1]);
  if (who(call) != Who::Keeper || !line.starts_with("1000 ")) return kGoOn;
  const char other = line[5] == '9' ? '8' : '9';
  store(call, call.args[1] + 5, &other);
  return kGoOn;
}

long join_nothing(const Call& call) { return who(call) == Who::Guest && inside(call) ? 0 : kGoOn; }
long gain_privileges(const Call& call) {
  return call.args[0] == PR_SET_NO_NEW_PRIVS && who(call) == Who::Guest && inside(call) ? 0 : kGoOn;
}
long enter_nothing(const Call& call) {
  return who(call) == Who::Zygote && call.args[1] == uapi::kCloneNewpid ? 0 : kGoOn;
}

constexpr int kControl = 5;
long keep_control(const Call& call) {
  return call.args[0] == kControl && who(call) == Who::Guest && inside(call) ? 0 : kGoOn;
}
// One page that is shared: no other mapping of a guest is.
long keep_page(const Call& call) {
  if (call.args[1] != 4096 || who(call) != Who::Guest || !inside(call)) return kGoOn;
  std::ifstream maps("/proc/" + std::to_string(call.pid) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    if (std::stoull(line, nullptr, 16) == call.args[0] && line.find("jailrun-reports") != line.npos)
      return 0;
  }
  return kGoOn;
}

const struct {
  const char* layer;
  long call;
  long (*answer)(const Call&);
} kOfWarmAlone[] = {
    {"slot: user namespace", SYS_clone3, slot_without<uapi::kCloneNewuser>},
    {"slot: mount namespace", SYS_clone3, slot_without<uapi::kCloneNewns>},
    {"slot: ipc namespace", SYS_clone3, slot_without<uapi::kCloneNewipc>},
    {"slot: uts namespace", SYS_clone3, slot_without<uapi::kCloneNewuts>},
    {"slot: pid namespace", SYS_clone3, slot_without<uapi::kCloneNewpid>},
    {"slot: id map", SYS_write, other_map_of_slot},
    {"slot joined", SYS_setns, join_nothing},
    {"born in the slot", SYS_setns, enter_nothing},
    {"no new privileges", SYS_prctl, gain_privileges},
    {"control closed", SYS_close, keep_control},
    {"owner's page unmapped", SYS_munmap, keep_page},
};

const volatile int* chosen = nullptr;
int current = -1;
std::vector<Feature> answers;

void choose() {
  const int now = *chosen;
  if (now == current) return;
  current = now;
  answers.clear();
  if (now < 0) return;
  const std::string_view name = kWarmLayers[now].name;
  for (const auto& each : kOfWarmAlone) {
    if (name == each.layer) answers.push_back({each.layer, each.call, each.answer});
  }
  if (answers.empty()) answers = without_layer(kWarmLayers[now].name);
}

template <long Number>
long answer(const Call& call) {
  choose();
  long said = kGoOn;
  for (const Feature& each : answers) {
    if (each.call == Number && said == kGoOn) said = each.answer(call);
  }
  return said;
}

template <long... Numbers>
std::vector<Feature> answered(std::integer_sequence<long, Numbers...>) {
  return {Feature{"warm", Numbers, answer<Numbers>}...};
}

}  // namespace

std::vector<Feature> warm_features(const volatile int* active) {
  depth = 2;
  chosen = active;
  // Every call of the table and of the cold walls' that it names.
  return answered(
      std::integer_sequence<long, SYS_clone3, SYS_setns, SYS_unshare, SYS_write, SYS_close,
                            SYS_munmap, SYS_setresgid, SYS_setresuid, SYS_setsid, SYS_prctl,
                            SYS_move_mount, SYS_fsconfig, SYS_umount2, SYS_sethostname,
                            SYS_sched_setaffinity, SYS_prlimit64, SYS_setpriority, SYS_ioprio_set,
                            SYS_capset, SYS_landlock_restrict_self, SYS_landlock_create_ruleset,
                            SYS_seccomp, SYS_close_range, SYS_rt_sigaction>());
}

}  // namespace layers
