// The table of attempts: what each is, how it ends in a jail, and how the twin outside of any is
// set up so that it succeeds.
#pragma once

#include <sched.h>
#include <sys/syscall.h>

#include <cerrno>
#include <csignal>
#include <ostream>
#include <string>
#include <vector>

namespace jailrun::test {

inline constexpr int kKilled = 159;

enum class Twin {
  Root,       // a plain child of this process
  OwnMounts,  // the same, where its mounts and its host name harm nobody
  None,  // this kernel has nothing that could succeed; another probe of the table shows the same
         // refusal
};

struct Attempt {
  const char* name;
  std::vector<std::string> arguments;
  std::vector<int> statuses;  // any of these
  Twin twin = Twin::Root;
  std::vector<std::string> twin_arguments = {};  // where they differ
};

inline void PrintTo(const Attempt& attempt, std::ostream* out) { *out << attempt.name; }

inline std::string number(long value) { return std::to_string(value); }

inline const std::vector<Attempt> kFiles = {
    {"MakingAFileInTheRoot",
     {"create", "/escape"},
     {EROFS, EACCES},
     Twin::OwnMounts,
     {"create", "/mnt/escape"}},
    {"MakingAFileInUsr",
     {"create", "/usr/bin/escape"},
     {EROFS, EACCES},
     Twin::OwnMounts,
     {"create", "/mnt/escape"}},
    {"MakingAFileInProc",
     {"create", "/proc/escape"},
     {EROFS, EACCES, ENOENT},
     Twin::OwnMounts,
     {"create", "/mnt/escape"}},
    {"ChangingAProgramOfTheImage",
     {"open-write", "/usr/bin/python3"},
     {EROFS, EACCES},
     Twin::Root,
     {"open-write", "/dev/null"}},
    {"OpeningTheRootToAll",
     {"chmod", "/"},
     {EROFS, EACCES, EPERM},
     Twin::OwnMounts,
     {"chmod", "/mnt"}},
    {"SettingTimesInTheImage",
     {"touch", "/usr"},
     {EROFS, EACCES, EPERM},
     Twin::OwnMounts,
     {"touch", "/mnt"}},
    {"RenamingInTheImage",
     {"rename", "/usr/bin", "/usr/nib"},
     {EROFS, EACCES, EPERM, EXDEV},
     Twin::None},
    {"RemovingFromTheImage", {"unlink", "/usr/bin/python3"}, {EROFS, EACCES, EPERM}, Twin::None},
    {"LinkingAProgramIntoWork",
     {"hardlink", "/usr/bin/env", "/work/env"},
     {EXDEV, EPERM, EACCES},
     Twin::None},
    {"ChangingTheModeOfADevice",
     {"chmod", "/dev/null"},
     {EROFS, EPERM, EACCES},
     Twin::OwnMounts,
     {"chmod", "/mnt"}},
    {"ReadingTheHostsShadowFile", {"read", "/etc/shadow"}, {ENOENT, EACCES}, Twin::Root},
    {"ReadingSysfs", {"read", "/sys/devices/system/cpu/online"}, {ENOENT, EACCES}},
    {"ReadingKernelMessages", {"read", "/dev/kmsg"}, {ENOENT, EACCES}, Twin::None},
    {"ReadingKernelSymbols",
     {"read", "/proc/kallsyms"},
     {ENOENT, EACCES},
     Twin::Root,
     {"read", "/proc/version"}},
    {"ReadingTheLoad", {"read", "/proc/loadavg"}, {ENOENT, EACCES}, Twin::Root},
    {"WritingASysctl",
     {"open-write", "/proc/sys/kernel/core_pattern"},
     {ENOENT, EROFS, EACCES},
     Twin::Root,
     {"open-write", "/proc/self/oom_score_adj"}},
    {"WritingSysrq", {"open-write", "/proc/sysrq-trigger"}, {ENOENT, EROFS, EACCES}, Twin::None},
    {"WritingItsOwnIdMap",
     {"open-write", "/proc/self/uid_map"},
     {EROFS, EACCES, EPERM},
     Twin::Root},
    {"LoweringItsOomScore",
     {"open-write", "/proc/self/oom_score_adj"},
     {EROFS, EACCES, EPERM},
     Twin::Root},
    {"OverwritingPid1sProgram",
     {"overwrite-exe", "/proc/1/exe"},
     {ENOENT, EACCES, EPERM, EROFS, ETXTBSY},
     Twin::Root,
     {"overwrite-exe", "/dev/null"}},
    {"MakingADevice", {"device", "/work/null"}, {EPERM}, Twin::OwnMounts, {"device", "/mnt/null"}},
};

inline const std::vector<Attempt> kMounts = {
    {"RemountingTheRoot", {"remount", "/"}, {kKilled, EPERM}, Twin::OwnMounts, {"remount", "/mnt"}},
    {"Mounting",
     {"mount-tmpfs", "/work"},
     {kKilled, EPERM},
     Twin::OwnMounts,
     {"mount-tmpfs", "/mnt"}},
    {"UncoveringData",
     {"unmount", "/data"},
     {kKilled, EPERM},
     Twin::OwnMounts,
     {"unmount", "/mnt"}},
    {"ChangingTheRoot", {"chroot", "/work"}, {EPERM}, Twin::Root, {"chroot", "/tmp"}},
    {"CloningAMount", {"syscall", number(SYS_open_tree), "-100", "0", "1"}, {kKilled}, Twin::None},
    {"OpeningAFileSystem", {"syscall", number(SYS_fsopen), "0", "0"}, {kKilled}, Twin::None},
    {"SettingMountAttributes",
     {"syscall", number(SYS_mount_setattr), "-1", "0", "0", "0", "0"},
     {kKilled},
     Twin::None},
    {"OpeningByHandle",
     {"syscall", number(SYS_open_by_handle_at), "-1", "0", "0"},
     {kKilled},
     Twin::None},
    {"JoiningANamespace", {"syscall", number(SYS_setns), "0", "0"}, {kKilled}, Twin::None},
    {"RenamingTheHost", {"sethostname", "escape"}, {EPERM}, Twin::OwnMounts},
};

inline const std::vector<Attempt> kProcesses = {
    {"ANewUserNamespaceByUnshare", {"new-user-namespace"}, {EPERM}},
    {"ANewUserNamespaceByClone", {"clone-user-namespace"}, {EPERM}},
    {"ANewUserNamespaceByClone3", {"clone3-user-namespace"}, {ENOSYS}},
    {"BecomingRoot", {"become-root"}, {EPERM, EINVAL}},
    {"TracingPid1", {"trace", "1"}, {kKilled}, Twin::None},
    {"SeeingPid1", {"sees-process", "1"}, {ENOENT}},
    {"SeeingAnyOtherProcess", {"sees-others"}, {ENOENT}},
    {"ReadingPid1sMaps",
     {"proc-open", "1", "maps"},
     {ENOENT, EACCES, EPERM},
     Twin::Root,
     {"proc-open", "self", "maps"}},
    {"ReadingPid1sMemory",
     {"proc-open", "1", "mem"},
     {ENOENT, EACCES, EPERM},
     Twin::Root,
     {"proc-open", "self", "mem"}},
    {"ReadingPid1sEnvironment",
     {"proc-open", "1", "environ"},
     {ENOENT, EACCES, EPERM},
     Twin::Root,
     {"proc-open", "self", "environ"}},
    {"ListingPid1sDescriptors",
     {"proc-open", "1", "fd"},
     {ENOENT, EACCES, EPERM},
     Twin::Root,
     {"proc-open", "self", "fd"}},
    {"EnteringPid1sRoot",
     {"proc-open", "1", "root"},
     {ENOENT, EACCES, EPERM},
     Twin::Root,
     {"proc-open", "self", "root"}},
    {"CopyingMemoryOfPid1", {"read-memory", "1", "400000"}, {kKilled}, Twin::None},
    {"RaisingItsPriority", {"lower-nice"}, {EPERM, EACCES}},
    {"RealTime", {"realtime"}, {EPERM}, Twin::None},
    {"DumpingCore", {"core-limit"}, {EPERM}},
    {"TheThirtyTwoBitEntry", {"int80"}, {kKilled}, Twin::None},
    {"TheX32Entry", {"syscall", number(SYS_getpid | 0x40000000)}, {kKilled}, Twin::None},
    {"LoadingBpf", {"syscall", number(SYS_bpf), "0", "0", "0"}, {kKilled}, Twin::None},
    {"AnIoRing", {"syscall", number(SYS_io_uring_setup), "1", "0"}, {ENOSYS, EPERM}, Twin::None},
    {"ACallOfTheFuture", {"syscall", "1000"}, {ENOSYS}, Twin::None},
    {"ANegativeCall", {"syscall", "-1"}, {ENOSYS}, Twin::None},
    {"ReparentingByCloneParent",
     {"syscall", number(SYS_clone), number(CLONE_PARENT | SIGCHLD), "0", "0", "0", "0"},
     {EPERM}},
    {"SettingItsDeathSignal", {"syscall", number(SYS_prctl), "1", "9"}, {EPERM, EINVAL, ENOSYS}},
    {"BecomingAPtraceTarget",
     {"syscall", number(SYS_prctl), number(0x59616d61), "-1"},
     {EPERM, EINVAL, ENOSYS},
     Twin::None},
};

inline const std::vector<Attempt> kNetwork = {
    {"AnInternetSocket", {"socket", "2", "1"}, {EAFNOSUPPORT}},
    {"AnInternet6Socket", {"socket", "10", "2"}, {EAFNOSUPPORT}},
    {"ARoutingSocket", {"socket", "16", "3"}, {EAFNOSUPPORT}},
    {"APacketSocket", {"socket", "17", "3"}, {EAFNOSUPPORT}},
    {"AHypervisorSocket", {"socket", "40", "1"}, {EAFNOSUPPORT}, Twin::None},
    {"ACryptographySocket", {"socket", "38", "5"}, {EAFNOSUPPORT}, Twin::None},
    {"AFamilyWithHighBits",
     {"syscall", number(SYS_socket), "0x100000002", "1", "0"},
     {EAFNOSUPPORT}},
    {"AnInterfaceThatIsUp", {"interface-up"}, {ENODEV}},
    {"DataOutOfBand", {"out-of-band"}, {EPERM, EOPNOTSUPP}},
};

inline const std::vector<Attempt>* const kAttempts[] = {&kFiles, &kMounts, &kProcesses, &kNetwork};

}  // namespace jailrun::test
