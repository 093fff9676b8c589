#include "tests/layers/layers.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string_view>

#include "jail/sys/uapi.h"
#include "tests/layers/caller.h"

namespace layers {
namespace {

using without::Feature;
using without::kGoOn;
namespace uapi = jailrun::uapi;

// --- Namespaces ----------------------------------------------------------------------------------

template <std::uint64_t Flag>
long clone_without(const Call& call) {
  std::uint64_t flags = 0;
  if (!fetch(call, call.args[0], &flags) || (flags & uapi::kCloneNewuser) == 0) return kGoOn;
  flags &= ~Flag;
  store(call, call.args[0], &flags);
  return kGoOn;
}

long network_not_entered(const Call& call) {
  return call.args[1] == uapi::kCloneNewnet ? 0 : kGoOn;
}
long only_inside(const Call& call) { return inside(call) ? 0 : kGoOn; }

// --- Ids -----------------------------------------------------------------------------------------

// "1000 1900000003 1": another host uid of the same length, which no jail has.
long other_map(const Call& call) {
  const std::string line = text_at(call, call.args[1]);
  if (!line.starts_with("1000 19") || call.args[2] > 24) return kGoOn;
  const char other = line[7] == '1' ? '2' : '1';
  store(call, call.args[1] + 7, &other);
  return kGoOn;
}

template <long Option>
long no_prctl(const Call& call) {
  return static_cast<long>(call.args[0]) == Option && inside(call) ? 0 : kGoOn;
}

// --- Mounts --------------------------------------------------------------------------------------

// mount_setattr of the root (read-only, nosuid, nodev), of devices (read-only, nosuid, noexec) or
// of what was filled first (read-only alone).
template <std::uint64_t Attribute, std::uint64_t Whole>
long attributes_without(const Call& call) {
  uapi::mount_attr attr{};
  if (!fetch(call, call.args[3], &attr) || attr.attr_set != Whole) return kGoOn;
  attr.attr_set &= ~Attribute;
  store(call, call.args[3], &attr);
  return kGoOn;
}
constexpr std::uint64_t kOfRoot = uapi::kMountRdonly | uapi::kMountNosuid | uapi::kMountNodev;
constexpr std::uint64_t kOfDevices = uapi::kMountRdonly | uapi::kMountNosuid | uapi::kMountNoexec;

// fsmount has its attributes in a register: cleared on the finished mount, before it is attached.
void clear_attributes(const Call& call, std::uint64_t attributes) {
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, call.pid, 0));
  const int mount = static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd, call.args[0], 0));
  const uapi::mount_attr attr{
      .attr_set = 0, .attr_clr = attributes, .propagation = 0, .userns_fd = 0};
  if (::syscall(SYS_mount_setattr, mount, "", uapi::kAtEmptyPath, &attr, sizeof attr) != 0)
    std::perror("without_layer: cannot clear attributes of a mount");
  ::close(mount);
  ::close(pidfd);
}

bool is_tmpfs_of_guest(const std::string& target) {
  return target == "work" || target == "tmp" || target == "dev/shm";
}

template <std::uint64_t Attribute>
long tmpfs_without(const Call& call) {
  if (is_tmpfs_of_guest(text_at(call, call.args[3]))) clear_attributes(call, Attribute);
  return kGoOn;
}

template <std::uint64_t Attribute>
long proc_without(const Call& call) {
  if (text_at(call, call.args[3]) == "proc") clear_attributes(call, Attribute);
  return kGoOn;
}

const char* removed_option = "";
long no_option(const Call& call) {
  return call.args[1] == 1 && text_at(call, call.args[2]) == removed_option ? 0 : kGoOn;
}

long stay_at_root(const Call& call) {
  return inside(call) && text_at(call, call.args[0]) == "/work" ? 0 : kGoOn;
}

// --- Limits --------------------------------------------------------------------------------------

long removed_resource = -1;
long no_rlimit(const Call& call) {
  const bool sets = call.args[2] != 0 && inside(call);
  return sets && static_cast<long>(call.args[1]) == removed_resource ? 0 : kGoOn;
}

// The directories of the caller's groups, by controller; "" is v2.
std::map<std::string, std::string> groups_of(pid_t pid) {
  std::map<std::string, std::string> groups;
  const bool hybrid = ::access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) == 0;
  std::ifstream table("/proc/" + std::to_string(pid) + "/cgroup");
  for (std::string line; std::getline(table, line);) {
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    const std::string name = line.substr(first + 1, second - first - 1);
    const std::string mount = name.empty() ? (hybrid ? "/unified" : "") : "/" + name;
    groups[name] = "/sys/fs/cgroup" + mount + line.substr(second + 1);
  }
  return groups;
}

void write_file(const std::string& path, const std::string& value) {
  std::ofstream(path) << value << std::flush;
}

struct GroupLimit {
  const char *controller, *v1, *v2;
};
constexpr GroupLimit kMemory = {"memory", "memory.limit_in_bytes", "memory.max"};
constexpr GroupLimit kPids = {"pids", "pids.max", "pids.max"};
constexpr GroupLimit kCpu = {"cpu", "cpu.cfs_quota_us", "cpu.max"};

// After the attestation, which would see it: the group is written to when the guest executes.
template <const GroupLimit& Limit>
long no_group_limit(const Call& call) {
  if (!inside(call)) return kGoOn;
  std::map<std::string, std::string> groups = groups_of(call.pid);
  const bool v1 = groups.contains(Limit.controller);
  const std::string unlimited = v1 && &Limit != &kPids ? "-1" : "max";
  const std::string group = groups[v1 ? Limit.controller : ""] + "/";
  if (v1 && &Limit == &kMemory) write_file(group + "memory.memsw.limit_in_bytes", "-1");
  write_file(group + (v1 ? Limit.v1 : Limit.v2), unlimited);
  return kGoOn;
}

long leave_group(const Call& call) {
  if (!inside(call)) return kGoOn;
  for (const auto& [name, path] : groups_of(call.pid)) {
    const std::size_t leaf = path.rfind("/jailrun-");
    if (leaf != std::string::npos)
      write_file(path.substr(0, leaf) + "/cgroup.procs", std::to_string(call.pid));
  }
  return kGoOn;
}

// --- Rights, filter ------------------------------------------------------------------------------

template <std::size_t Field>
long landlock_without(const Call& call) {
  const std::uint64_t none = 0;
  if (call.args[0] != 0 && call.args[1] > 8 * Field && inside(call))
    store(call, call.args[0] + 8 * Field, &none);
  return kGoOn;
}

long no_filter(const Call& call) {
  return call.args[0] == SECCOMP_SET_MODE_FILTER && inside(call) ? 0 : kGoOn;
}

// What stands before the filter.
std::vector<sock_filter> prefix;
long filter_behind_prefix(const Call& call) {
  if (call.args[0] != SECCOMP_SET_MODE_FILTER || !inside(call)) return kGoOn;
  sock_fprog program{};
  if (!fetch(call, call.args[2], &program)) return kGoOn;
  const auto begin = reinterpret_cast<std::uint64_t>(program.filter);
  std::vector<sock_filter> whole(program.len);
  if (!fetch(call, begin, whole.data(), whole.size())) return kGoOn;
  whole.insert(whole.begin(), prefix.begin(), prefix.end());
  store(call, begin, whole.data(), whole.size());  // Plan::filter has room for 1024
  program.len = static_cast<unsigned short>(whole.size());
  store(call, call.args[2], &program.len);
  return kGoOn;
}

constexpr std::uint32_t kArch = offsetof(seccomp_data, arch), kNumber = offsetof(seccomp_data, nr);

void allow_calls(const std::string& numbers) {
  std::vector<sock_filter> pairs = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber)};
  std::istringstream list(numbers);
  for (std::string number; std::getline(list, number, ',');) {
    pairs.push_back(
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(std::stoi(number)), 0, 1));
    pairs.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  }
  prefix = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kArch),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0,
                     static_cast<std::uint8_t>(pairs.size()))};
  prefix.insert(prefix.end(), pairs.begin(), pairs.end());
}

// --- What is inherited ---------------------------------------------------------------------------

template <Who Whose>
long not_by(const Call& call) {
  return who(call) == Whose && before_exec(call) ? 0 : kGoOn;
}

long close_nothing_above_four(const Call& call) {
  return call.args[0] >= 3 && inside(call) ? 0 : kGoOn;
}
long init_closes_nothing(const Call& call) {
  return call.args[0] == 0 && who(call) == Who::Init ? 0 : kGoOn;
}

// A variable of the caller's in the place of one of the policy's.
long foreign_variable(const Call& call) {
  for (std::uint64_t at = call.args[2], text = 0; inside(call); at += 8) {
    if (!fetch(call, at, &text) || text == 0) break;
    if (text_at(call, text) == "MPLBACKEND=Agg") store(call, text, "JAILRUN_LEAK=1", 15);
  }
  return kGoOn;
}

// --- The table -----------------------------------------------------------------------------------

struct Removal {
  const char* layer;
  long call;
  long (*answer)(const Call&);
};

const Removal kRemovals[] = {
    {"user namespace", SYS_clone3, clone_without<uapi::kCloneNewuser>},
    {"pid namespace", SYS_clone3, clone_without<uapi::kCloneNewpid>},
    {"mount namespace", SYS_clone3, clone_without<uapi::kCloneNewns>},
    {"ipc namespace", SYS_clone3, clone_without<uapi::kCloneNewipc>},
    {"uts namespace", SYS_clone3, clone_without<uapi::kCloneNewuts>},
    {"network namespace", SYS_setns, network_not_entered},
    {"network namespace", SYS_clone3, clone_without<uapi::kCloneNewnet>},
    {"cgroup namespace", SYS_unshare, only_inside},
    {"id map", SYS_write, other_map},
    {"no groups", SYS_setgroups, only_inside},
    {"guest gid", SYS_setresgid, only_inside},
    {"guest uid", SYS_setresuid, only_inside},
    {"own session", SYS_setsid, not_by<Who::Init>},
    {"guest's session", SYS_setsid, not_by<Who::Guest>},
    {"umask", SYS_umask, only_inside},
    {"death signal", SYS_prctl, no_prctl<PR_SET_PDEATHSIG>},
    {"root read-only", SYS_mount_setattr, attributes_without<uapi::kMountRdonly, kOfRoot>},
    {"root nosuid", SYS_mount_setattr, attributes_without<uapi::kMountNosuid, kOfRoot>},
    {"root nodev", SYS_mount_setattr, attributes_without<uapi::kMountNodev, kOfRoot>},
    {"devices read-only", SYS_mount_setattr, attributes_without<uapi::kMountRdonly, kOfDevices>},
    {"devices nosuid", SYS_mount_setattr, attributes_without<uapi::kMountNosuid, kOfDevices>},
    {"devices noexec", SYS_mount_setattr, attributes_without<uapi::kMountNoexec, kOfDevices>},
    {"inputs read-only", SYS_mount_setattr,
     attributes_without<uapi::kMountRdonly, uapi::kMountRdonly>},
    {"tmpfs nosuid", SYS_move_mount, tmpfs_without<uapi::kMountNosuid>},
    {"tmpfs nodev", SYS_move_mount, tmpfs_without<uapi::kMountNodev>},
    {"tmpfs noexec", SYS_move_mount, tmpfs_without<uapi::kMountNoexec>},
    {"tmpfs size", SYS_fsconfig, no_option},
    {"tmpfs inodes", SYS_fsconfig, no_option},
    {"proc read-only", SYS_move_mount, proc_without<uapi::kMountRdonly>},
    {"proc nosuid", SYS_move_mount, proc_without<uapi::kMountNosuid>},
    {"proc nodev", SYS_move_mount, proc_without<uapi::kMountNodev>},
    {"proc noexec", SYS_move_mount, proc_without<uapi::kMountNoexec>},
    {"proc subset", SYS_fsconfig, no_option},
    {"proc hidepid", SYS_fsconfig, no_option},
    {"old root detached", SYS_umount2, only_inside},
    {"working directory", SYS_chdir, stay_at_root},
    {"neutral host name", SYS_sethostname, only_inside},
    {"CPUs of the limit", SYS_sched_setaffinity, only_inside},
    {"rlimit open files", SYS_prlimit64, no_rlimit},
    {"rlimit file size", SYS_prlimit64, no_rlimit},
    {"rlimit core", SYS_prlimit64, no_rlimit},
    {"rlimit locked memory", SYS_prlimit64, no_rlimit},
    {"rlimit message queues", SYS_prlimit64, no_rlimit},
    {"rlimit pending signals", SYS_prlimit64, no_rlimit},
    {"rlimit stack", SYS_prlimit64, no_rlimit},
    {"rlimit nice", SYS_prlimit64, no_rlimit},
    {"rlimit real-time priority", SYS_prlimit64, no_rlimit},
    {"in its cgroup", SYS_seccomp, leave_group},
    {"memory limit", SYS_execve, no_group_limit<kMemory>},
    {"process limit", SYS_execve, no_group_limit<kPids>},
    {"CPU limit", SYS_execve, no_group_limit<kCpu>},
    {"ordinary priority", SYS_setpriority, only_inside},
    {"ordinary I/O class", SYS_ioprio_set, only_inside},
    {"bounding set", SYS_prctl, no_prctl<PR_CAPBSET_DROP>},
    {"capability sets", SYS_capset, only_inside},
    {"no new privileges", SYS_prctl, no_prctl<PR_SET_NO_NEW_PRIVS>},
    {"Landlock", SYS_landlock_restrict_self, only_inside},
    {"Landlock scopes", SYS_landlock_create_ruleset, landlock_without<2>},
    {"Landlock ports", SYS_landlock_create_ruleset, landlock_without<1>},
    {"seccomp filter", SYS_seccomp, no_filter},
    {"filter: 32-bit entry", SYS_seccomp, filter_behind_prefix},
    {"filter: x32 numbers", SYS_seccomp, filter_behind_prefix},
    {"descriptors closed", SYS_close_range, close_nothing_above_four},
    {"init's descriptors closed", SYS_close_range, init_closes_nothing},
    {"signals reset", SYS_rt_sigaction, not_by<Who::Guest>},
    {"signal mask reset", SYS_rt_sigprocmask, not_by<Who::Guest>},
    {"personality reset", SYS_personality, only_inside},
    {"environment of the policy", SYS_execve, foreign_variable},
};

struct Parameter {
  const char* layer;
  long resource;
  const char* option;
};
constexpr Parameter kParameters[] = {
    {"rlimit open files", RLIMIT_NOFILE, ""},
    {"rlimit file size", RLIMIT_FSIZE, ""},
    {"rlimit core", RLIMIT_CORE, ""},
    {"rlimit locked memory", RLIMIT_MEMLOCK, ""},
    {"rlimit message queues", RLIMIT_MSGQUEUE, ""},
    {"rlimit pending signals", RLIMIT_SIGPENDING, ""},
    {"rlimit stack", RLIMIT_STACK, ""},
    {"rlimit nice", RLIMIT_NICE, ""},
    {"rlimit real-time priority", RLIMIT_RTPRIO, ""},
    {"tmpfs size", -1, "size"},
    {"tmpfs inodes", -1, "nr_inodes"},
    {"proc subset", -1, "subset"},
    {"proc hidepid", -1, "hidepid"},
};

}  // namespace

std::vector<Feature> without_layer(const std::string& name) {
  if (name == "nothing") return {{"nothing", SYS_reboot, [](const Call&) { return kGoOn; }}};
  if (name.starts_with("allow=")) {
    allow_calls(name.substr(6));
    return {{"allow", SYS_seccomp, filter_behind_prefix}};
  }
  for (const Parameter& each : kParameters) {
    if (name != each.layer) continue;
    removed_resource = each.resource;
    removed_option = each.option;
  }
  if (name == "filter: 32-bit entry")
    prefix = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kArch),
              BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_I386, 0, 1),
              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  if (name == "filter: x32 numbers")
    prefix = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber),
              BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x40000000, 0, 1),
              BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  std::vector<Feature> features;
  for (const Removal& each : kRemovals) {
    if (name == each.layer) features.push_back({each.layer, each.call, each.answer});
  }
  return features;
}

}  // namespace layers
