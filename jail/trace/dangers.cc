#include "jail/trace/dangers.h"

#include "jail/spec/syscalls.h"

namespace jailrun {
namespace {

// Covers a call whose argument, under the mask, equals the value, or (`differs`) does not.
struct Danger {
  const char* call;
  unsigned index;
  std::uint64_t mask, value;
  bool differs;
  const char* why;
};

constexpr std::uint64_t kInt = 0xffffffff;  // the kernel reads a command as an int
constexpr std::uint64_t kFutex = 0x7f;      // without PRIVATE and CLOCK_REALTIME
constexpr std::uint64_t kType = 0170000;    // of a file

constexpr const char* kNamespaces =
    "a namespace of one's own gives back every capability, and with them the kernel's setup code";
constexpr const char* kFamilies =
    "every other family is a way out or a source of kernel bugs; 127.0.0.1 of one's own is what "
    "policy python-loopback gives";
constexpr const char* kInherits = "futexes that inherit priority: CVE-2014-3153";
constexpr const char* kDevice = "a device node is a way to the host's hardware";
constexpr const char* kTerminal = "types into or takes over the caller's terminal (CVE-2019-10063)";
constexpr const char* kSignals = "aims signals at others";
constexpr const char* kWatches = "watches files that other jails share";
constexpr const char* kRights = "part of the walls: rights and filters stay as they were set";
constexpr const char* kNever = "kernel code that no program of an image needs, much of it untested";

constexpr Danger kDangers[] = {
    {"clone", 0, 0x7e82a000, 0, true, kNamespaces},
    {"personality", 0, 0, 0, false, "turns address randomization off or makes data executable"},
    {"socket", 0, ~std::uint64_t{0}, 1, true, kFamilies},
    {"socketpair", 0, ~std::uint64_t{0}, 1, true, kFamilies},
    {"futex", 1, kFutex, 6, false, kInherits},
    {"futex", 1, kFutex, 7, false, kInherits},
    {"futex", 1, kFutex, 8, false, kInherits},
    {"futex", 1, kFutex, 11, false, kInherits},
    {"futex", 1, kFutex, 12, false, kInherits},
    {"futex", 1, kFutex, 13, false, kInherits},
    {"mknod", 1, kType, 0020000, false, kDevice},
    {"mknod", 1, kType, 0060000, false, kDevice},
    {"mknodat", 2, kType, 0020000, false, kDevice},
    {"mknodat", 2, kType, 0060000, false, kDevice},
    {"ioctl", 1, kInt, 0x540e, false, kTerminal},  // TIOCSCTTY
    {"ioctl", 1, kInt, 0x5412, false, kTerminal},  // TIOCSTI
    {"ioctl", 1, kInt, 0x541c, false, kTerminal},  // TIOCLINUX
    {"ioctl", 1, kInt, 0x541d, false, kTerminal},  // TIOCCONS
    {"ioctl", 1, kInt, 0x5423, false, kTerminal},  // TIOCSETD
    {"fcntl", 1, kInt, 8, false, kSignals},        // F_SETOWN
    {"fcntl", 1, kInt, 10, false, kSignals},       // F_SETSIG
    {"fcntl", 1, kInt, 15, false, kSignals},       // F_SETOWN_EX
    {"fcntl", 1, kInt, 1024, false, kWatches},     // F_SETLEASE
    {"fcntl", 1, kInt, 1026, false, kWatches},     // F_NOTIFY
    {"prctl", 0, kInt, 1, false, kRights},         // PR_SET_PDEATHSIG
    {"prctl", 0, kInt, 4, false, "shows a session's cells the memory of its saved states"},
    {"prctl", 0, kInt, 8, false, kRights},   // PR_SET_KEEPCAPS
    {"prctl", 0, kInt, 22, false, kRights},  // PR_SET_SECCOMP
    {"prctl", 0, kInt, 24, false, kRights},  // PR_CAPBSET_DROP
    {"prctl", 0, kInt, 28, false, kRights},  // PR_SET_SECUREBITS
    {"prctl", 0, kInt, 31, false, kNever},   // PR_TASK_PERF_EVENTS_DISABLE
    {"prctl", 0, kInt, 32, false, kNever},   // PR_TASK_PERF_EVENTS_ENABLE
    {"prctl", 0, kInt, 35, false, kRights},  // PR_SET_MM
    {"prctl", 0, kInt, 47, false, kRights},  // PR_CAP_AMBIENT
    {"prctl", 0, kInt, 53, false, "switches off guards against speculation"},
    {"prctl", 0, kInt, 59, false, kRights},  // PR_SET_SYSCALL_USER_DISPATCH
    {"prctl", 0, kInt, 62, false, "ties cores of the host together"},
    {"prctl", 0, kInt, 0x59616d61, false, kRights},  // PR_SET_PTRACER
    {"io_setup", 0, 0, 0, false, "contexts are counted for the whole host, not by jail"},
    {"io_submit", 0, 0, 0, false, "old and rarely tested code; libraries fall back to threads"},
    {"quotactl_fd", 0, 0, 0, false, "belongs to the host's administrator"},
    {"fanotify_mark", 0, 0, 0, false, kWatches},
    {"lookup_dcookie", 0, 0, 0, false, kNever},
    {"uselib", 0, 0, 0, false, kNever},
    {"sysfs", 0, 0, 0, false, kNever},
};

bool covers(const Danger& danger, const Call& call) {
  return ((call.args[danger.index] & danger.mask) == danger.value) != danger.differs;
}

}  // namespace

std::optional<std::string> danger_of(const Call& call) {
  const std::string name = syscall_name(call.number);
  for (const Danger& danger : kDangers) {
    if (name == danger.call && covers(danger, call)) return danger.why;
  }
  return std::nullopt;
}

std::vector<std::string> dangerous_names() {
  std::vector<std::string> names;
  for (const Danger& danger : kDangers) names.emplace_back(danger.call);
  return names;
}

}  // namespace jailrun
