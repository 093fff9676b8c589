#include "jail/launch/plain.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "jail/confine/delegation.h"
#include "jail/confine/ids.h"
#include "jail/sys/fd.h"

extern char** environ;

namespace jailrun {
namespace {

// "DEV:INODE DEV:INODE …" of what was checked outside. Set by this user for itself: whoever forges
// it forges it against itself alone.
constexpr const char* kVouched = "JAILRUN_VOUCHED";

constexpr const char* kNamespaceRemedy =
    "allow user namespaces: kernel.unprivileged_userns_clone=1, or, where AppArmor restricts them, "
    "jailrun's profile (share/jailrun/apparmor/jailrun); or ask a jaild that runs as root";

// What building a jail takes in the namespace; whatever else it would give is given up at exec.
constexpr int kKept[] = {CAP_CHOWN,      CAP_KILL,      CAP_SETGID,   CAP_SETUID,
                         CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_NET_ADMIN};

std::string identity(const struct stat& st) {
  return std::to_string(st.st_dev) + ":" + std::to_string(st.st_ino);
}

bool effective(int capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2] = {};
  return ::syscall(SYS_capget, &header, sets) == 0 &&
         (sets[capability / 32].effective & (1u << (capability % 32))) != 0;
}

// Capabilities of a uid other than 0 outlive exec only as ambient ones.
bool keep_rights() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[2] = {};
  for (const int capability : kKept) {
    const std::uint32_t bit = 1u << (capability % 32);
    sets[capability / 32].permitted |= bit;
    sets[capability / 32].effective |= bit;
    sets[capability / 32].inheritable |= bit;
  }
  if (::syscall(SYS_capset, &header, sets) != 0) return false;
  return std::ranges::all_of(kKept, [](int capability) {
    return ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) == 0;
  });
}

struct Range {
  unsigned long first = 0, count = 0;
};

std::string own_name() {
  const std::string table = read_file_at(AT_FDCWD, "/etc/passwd", 1 << 20);
  const std::string id = ":" + std::to_string(::getuid()) + ":";
  for (std::size_t at = 0; at < table.size();) {
    const std::size_t end = std::min(table.find('\n', at), table.size());
    const std::string line = table.substr(at, end - at);
    at = end + 1;
    const std::size_t name = line.find(':'), password = line.find(':', name + 1);
    if (password != std::string::npos && line.compare(password, id.size(), id) == 0)
      return line.substr(0, name);
  }
  return "";
}

// The end of this user's range in /etc/subuid or /etc/subgid: container engines begin at its start.
Range subordinate(const char* file) {
  constexpr unsigned long kMost = kPlainUidCount + 31 * kWorldUids;  // half of what is usual
  const std::string table = read_file_at(AT_FDCWD, file, 1 << 20);
  const std::string name = own_name(), id = std::to_string(::getuid());
  for (std::size_t at = 0; at < table.size();) {
    const std::size_t end = std::min(table.find('\n', at), table.size());
    const std::string line = table.substr(at, end - at);
    at = end + 1;
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const std::string who = line.substr(0, colon);
    if (who != id && (name.empty() || who != name)) continue;
    char* next = nullptr;
    Range range;
    range.first = std::strtoul(line.c_str() + colon + 1, &next, 10);
    if (*next != ':') continue;
    range.count = std::strtoul(next + 1, nullptr, 10);
    const unsigned long above = range.count > kMost ? range.count - kMost : 0;
    return {range.first + above, range.count - above};
  }
  return {};
}

// newuidmap and newgidmap write maps that a plain user may not write; from outside, on `target`.
bool run_map_program(const char* program, pid_t target, unsigned own, const Range& range) {
  const std::string words[] = {
      std::to_string(target),   std::to_string(::getuid()),  std::to_string(own),        "1",
      std::to_string(kUidBase), std::to_string(range.first), std::to_string(range.count)};
  std::vector<char*> argv = {const_cast<char*>(program)};
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    ::dup2(null.get(), STDERR_FILENO);  // it fails only where the single map follows
    ::execve((std::string("/usr/bin/") + program).c_str(), argv.data(), environ);
    ::_exit(127);
  }
  int status = 1;
  while (child > 0 && ::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return child > 0 && status == 0;
}

// The caller's own id and nothing else. Without a right over other groups they cannot be given up.
int map_own_id(unsigned uid, unsigned gid) {
  if (const int error = write_file_at(AT_FDCWD, "/proc/self/setgroups", "deny"); error != 0)
    return error;
  // The gid gets the uid's number inside: guests have one number for both.
  const std::string inside = std::to_string(uid) + " ";
  if (const int error =
          write_file_at(AT_FDCWD, "/proc/self/gid_map", inside + std::to_string(gid) + " 1\n");
      error != 0)
    return error;
  return write_file_at(AT_FDCWD, "/proc/self/uid_map", inside + std::to_string(uid) + " 1\n");
}

// Into a user and a mount namespace with as many ids as this user has.
Expected<void> enter(bool own_network) {
  const auto refused = [](const char* what, int error) {
    return std::unexpected(Error{Stage::LeaseUid, "user namespace", error,
                                 std::string("a plain user cannot build a jail here: ") + what,
                                 kNamespaceRemedy});
  };
  const unsigned uid = ::geteuid(), gid = ::getegid();
  const Range uids = subordinate("/etc/subuid"), gids = subordinate("/etc/subgid");
  const Range mapped_u{uids.first, std::min(uids.count, gids.count)};
  const Range mapped_g{gids.first, mapped_u.count};
  int gate[2] = {-1, -1};
  if (::pipe2(gate, O_CLOEXEC) != 0) return refused("no pipe can be made", errno);
  const Fd gate_read(gate[0]);
  Fd gate_write(gate[1]);
  const pid_t self = ::getpid();
  // The helper stays outside, where this user's ranges count.
  const pid_t helper = mapped_u.count == 0 ? -1 : ::fork();
  if (helper == 0) {
    gate_write.reset();
    char byte = 0;
    if (::read(gate_read.get(), &byte, 1) != 1) ::_exit(1);
    const bool done = run_map_program("newgidmap", self, gid, mapped_g) &&
                      run_map_program("newuidmap", self, uid, mapped_u);
    ::_exit(done ? 0 : 1);
  }
  const int spaces = CLONE_NEWUSER | CLONE_NEWNS | (own_network ? CLONE_NEWNET : 0);
  const int failed = ::unshare(spaces) == 0 ? 0 : errno;
  if (failed == 0 && helper > 0) (void)write_all(gate_write.get(), "g", 1);
  gate_write.reset();
  int status = 1;
  while (helper > 0 && ::waitpid(helper, &status, 0) < 0 && errno == EINTR) {
  }
  if (failed != 0) return refused("it may not make a user namespace", failed);
  if (helper <= 0 || status != 0) {
    if (const int error = map_own_id(uid, gid); error != 0)
      return refused("its id cannot be mapped", error);
  }
  // AppArmor lets one in and then refuses each right. Nothing of ours is seen outside from here on.
  if (keep_rights() &&
      (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) == 0 || errno == EINVAL))
    return {};  // EINVAL: a chroot, whose / is no mount
  return refused("a user namespace gives it no right", errno);
}

// True where the user manager listens: then systemd-run will not fail for want of it.
bool has_user_manager() {
  const char* base = std::getenv("XDG_RUNTIME_DIR");
  const std::string path = std::string(base == nullptr ? "" : base) + "/systemd/private";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return false;
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

// A scope of the user manager's, delegated to this process alone: systemd-run asks for it over
// D-Bus, registers itself, and executes us in its place. Returns where there is none to be had;
// making the cgroup then says what is missing.
void become_scope(char** argv, const std::string& program) {
  if (std::getenv(kInOwnScope) != nullptr || !wants_delegation() || !has_user_manager()) return;
  std::vector<char*> words;
  for (const char* word : {"/usr/bin/systemd-run", "--user", "--scope", "--quiet", "--collect",
                           "--property=Delegate=yes", "--description=jailrun", "--"})
    words.push_back(const_cast<char*>(word));
  words.push_back(const_cast<char*>(program.c_str()));
  for (char** word = argv + 1; *word != nullptr; ++word) words.push_back(*word);
  words.push_back(nullptr);
  ::setenv(kInOwnScope, "1", 1);
  ::execv(words[0], words.data());
  ::unsetenv(kInOwnScope);
}

}  // namespace

bool can_build_jails() { return ::geteuid() == 0 || effective(CAP_SYS_ADMIN); }

bool only_we_could_change(const struct stat& st) {
  if ((st.st_mode & 022) != 0) return false;
  if (st.st_uid == 0 || st.st_uid == ::geteuid()) return true;
  const char* vouched = std::getenv(kVouched);
  if (vouched == nullptr || ::geteuid() == 0) return false;
  return (" " + std::string(vouched) + " ").find(" " + identity(st) + " ") != std::string::npos;
}

Expected<void> enter_as_plain_user(char** argv, const std::vector<std::string>& vouched,
                                   bool own_network) {
  if (can_build_jails()) return {};
  char program[PATH_MAX];
  const ssize_t length = ::readlink("/proc/self/exe", program, sizeof program - 1);
  program[length > 0 ? length : 0] = 0;
  become_scope(argv, program);
  ::unsetenv(kVouched);  // this process says itself what it trusts
  std::string list;
  for (const std::string& path : vouched) {
    struct stat st{};
    if (::stat(path.c_str(), &st) == 0 && only_we_could_change(st))
      list += (list.empty() ? "" : " ") + identity(st);
  }
  ::setenv(kVouched, list.c_str(), 1);
  TRY_VOID(enter(own_network));
  ::execv(program, argv);
  return std::unexpected(sys_error(Stage::LeaseUid, program,
                                   std::string("cannot execute ") + program + " anew",
                                   "install jailrun where this user may execute it"));
}

}  // namespace jailrun
