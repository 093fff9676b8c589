#include "jail/launch/attest.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string_view>

namespace jailrun {
namespace {

using std::string_view;

// The rest of the line that begins with "KEY:", without leading blanks.
string_view line_of(string_view text, string_view key) {
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = text.find('\n', at);
    if (end == string_view::npos) end = text.size();
    string_view line = text.substr(at, end - at);
    at = end + 1;
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':') continue;
    line.remove_prefix(key.size() + 1);
    const std::size_t first = line.find_first_not_of(" \t");
    if (first == string_view::npos) return {};
    const std::size_t last = line.find_last_not_of(" \t");
    return line.substr(first, last - first + 1);
  }
  return {};
}

Fd open_process(pid_t pid) {
  return Fd(::open(("/proc/" + std::to_string(pid)).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
}

// The second number of NSpid: the pid in the namespace below the reader's.
pid_t pid_inside(string_view status) {
  const string_view pids = line_of(status, "NSpid");
  const std::size_t tab = pids.find('\t');
  return tab == string_view::npos ? 0 : std::atoi(std::string(pids.substr(tab + 1)).c_str());
}

// Gives the pid below ours.
Expected<pid_t> check_status(int proc, const char* who, const Posture& posture, bool guest) {
  const std::string status = read_file_at(proc, "status");
  const std::string id = std::to_string(posture.host_uid);
  const std::string ids = id + "\t" + id + "\t" + id + "\t" + id;
  const std::string filters = std::to_string(posture.filters + 1);
  const struct {
    const char* key;
    string_view expected;
    bool guest_only;
  } wanted[] = {
      {"Uid", ids, false},
      {"Gid", ids, false},
      {"Groups", posture.groups, false},
      {"Threads", "1", false},
      {"CapInh", "0000000000000000", false},
      {"CapPrm", "0000000000000000", false},
      {"CapEff", "0000000000000000", false},
      {"CapBnd", "0000000000000000", false},
      {"CapAmb", "0000000000000000", false},
      {"NoNewPrivs", "1", false},
      {"Seccomp", "2", true},
      {"Seccomp_filters", filters, true},  // the mode may be the owner's own filter's
  };
  for (const auto& line : wanted) {
    if (line.guest_only && !guest) continue;
    const string_view seen = line_of(status, line.key);
    if (seen != line.expected) {
      return std::unexpected(
          differs(std::string(who) + " has " + line.key + ": " + std::string(seen)));
    }
  }
  return pid_inside(status);
}

constexpr std::array<const char*, 7> kNamespaces = {"ns/user", "ns/pid",    "ns/mnt", "ns/ipc",
                                                    "ns/uts",  "ns/cgroup", "ns/net"};

Namespaces namespaces_of(int proc) {
  Namespaces inodes{};
  for (std::size_t i = 0; i < kNamespaces.size(); ++i) {
    struct stat st{};
    if (::fstatat(proc, kNamespaces[i], &st, 0) == 0) inodes[i] = st.st_ino;
  }
  return inodes;
}

// All of the guest's are its init's, whose mounts attest_world() has read, and neither the owner's
// nor the keeper's; the network alone is one that others may share.
Expected<void> check_namespaces(int init, int guest, const Posture& posture) {
  const Namespaces theirs = namespaces_of(guest), inits = namespaces_of(init);
  for (std::size_t i = 0; i < theirs.size(); ++i) {
    const bool keepers = i + 1 < theirs.size() && theirs[i] == posture.keeper[i];
    if (theirs[i] == 0 || theirs[i] != inits[i] || theirs[i] == posture.owner[i] || keepers)
      return std::unexpected(differs(kNamespaces[i]));
  }
  if (posture.network_inode != 0 && theirs.back() != posture.network_inode)
    return std::unexpected(differs("ns/net"));
  return {};
}

// Exactly the expected mounts, each with the options that it must begin with.
Expected<void> check_mounts(int guest, std::span<const ExpectedMount> expected) {
  const std::string table = read_file_at(guest, "mountinfo", 1 << 20);
  std::size_t seen = 0;
  for (std::size_t at = 0; at < table.size();) {
    const std::size_t end = std::min(table.find('\n', at), table.size());
    string_view line(table.data() + at, end - at);
    at = end + 1;
    for (int skip = 0; skip < 4; ++skip)
      line.remove_prefix(std::min(line.find(' ') + 1, line.size()));
    const string_view target = line.substr(0, line.find(' '));
    const string_view options = line.substr(std::min(target.size() + 1, line.size()));
    const auto match = std::ranges::find(expected, target, &ExpectedMount::target);
    if (match == expected.end() || !options.starts_with(match->options)) {
      return std::unexpected(
          differs("mount " + std::string(target) + " " + std::string(options.substr(0, 40))));
    }
    ++seen;
  }
  if (seen != expected.size()) return std::unexpected(differs("a mount is missing"));
  return {};
}

// Where the list belongs to root, whom a plain user's namespace does not know: each number that the
// process's table has room for is tried.
Expected<void> try_descriptors(int proc, pid_t guest, int last) {
  const Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, guest, 0)));
  const std::string status = read_file_at(proc, "status");
  const int room = std::atoi(std::string(line_of(status, "FDSize")).c_str());
  if (!pidfd.valid() || room <= 0)
    return std::unexpected(differs("its descriptors cannot be listed"));
  for (int number = last + 1; number < room; ++number) {
    const Fd copy(static_cast<int>(::syscall(SYS_pidfd_getfd, pidfd.get(), number, 0)));
    if (!copy.valid() && errno == EBADF) continue;
    return std::unexpected(differs("descriptor " + std::to_string(number) +
                                   (copy.valid() ? " is open" : " cannot be looked at")));
  }
  return {};
}

// None above `last`; the gate is closed before guest code runs.
Expected<void> check_descriptors(int guest, pid_t pid, int last) {
  const Fd dir(::openat(guest, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir.valid() && errno == EACCES) return try_descriptors(guest, pid, last);
  // getdents64 without opendir's 32 KiB: a sound guest has six short entries.
  alignas(8) char buffer[1024];
  const ssize_t filled = dir.valid() ? ::getdents64(dir.get(), buffer, sizeof buffer) : -1;
  if (filled <= 0) return std::unexpected(differs("its descriptors cannot be listed"));
  for (ssize_t at = 0; at < filled;) {
    const auto* entry = reinterpret_cast<const dirent64*>(buffer + at);
    at += entry->d_reclen;
    const string_view name = entry->d_name;
    const bool known = name == "." || name == ".." ||
                       (name.size() == 1 && name[0] >= '0' && name[0] <= '0' + last);
    if (!known) return std::unexpected(differs("descriptor " + std::string(name) + " is open"));
  }
  return {};
}

// Without a cgroup: init and its descendants, which are all that a pid namespace can hold. They are
// blocked while this reads, so none is missed.
std::vector<pid_t> family_of(pid_t init) {
  std::vector<pid_t> family = {init};
  for (std::size_t i = 0; i < family.size(); ++i) {
    const std::string pid = std::to_string(family[i]);
    const std::string path = "/proc/" + pid + "/task/" + pid + "/children";
    const std::string list = read_file_at(AT_FDCWD, path.c_str());
    for (const char* at = list.c_str(); *at != 0;) {
      char* end = nullptr;
      const long child = std::strtol(at, &end, 10);
      if (end == at) break;
      family.push_back(static_cast<pid_t>(child));
      at = *end == ' ' ? end + 1 : end;
    }
  }
  return family;
}

Expected<void> check_membership(int proc, const Cgroup& cgroup) {
  const std::string table = read_file_at(proc, "cgroup");
  for (const std::string& path : cgroup.membership()) {
    if (table.find(":" + path + "\n") == std::string::npos) {
      return std::unexpected(differs("it is not in cgroup " + path));
    }
  }
  return {};
}

}  // namespace

Error differs(const std::string& what) {
  return Error{
      Stage::Attest, what, 0, "the jail is not what was asked for: " + what,
      "this is a fault of jailrun or of the host; please report it with `jailrun doctor --json`"};
}

Namespaces own_namespaces() {
  const Fd self(::open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC));
  return namespaces_of(self.get());
}

Namespaces namespaces_of_process(pid_t pid) {
  const Fd process = open_process(pid);
  return namespaces_of(process.get());
}

std::string own_groups() {
  return std::string(line_of(read_file_at(AT_FDCWD, "/proc/self/status"), "Groups"));
}

unsigned own_filters() {
  const std::string status = read_file_at(AT_FDCWD, "/proc/self/status");
  return static_cast<unsigned>(std::atoi(std::string(line_of(status, "Seccomp_filters")).c_str()));
}

Expected<void> attest_world(const Posture& posture, const Cgroup& cgroup) {
  const Fd init = open_process(posture.init);
  TRY_VOID(check_membership(init.get(), cgroup));
  TRY_VOID(check_mounts(init.get(), posture.mounts));
  if (const std::string limit = cgroup.check_limits(); !limit.empty()) {
    return std::unexpected(differs(limit));
  }
  return {};
}

Expected<Attested> attest_guest(const Posture& posture, const Cgroup& cgroup) {
  const std::vector<pid_t> members = cgroup.has_leaf() ? cgroup.members() : family_of(posture.init);
  const auto guest = std::ranges::find_if(members, [&](pid_t pid) { return pid != posture.init; });
  if (members.size() != 2 || guest == members.end()) {
    return std::unexpected(
        differs("it has " + std::to_string(members.size()) + " processes instead of 2"));
  }
  const Fd init = open_process(posture.init), proc = open_process(*guest);
  Attested seen{*guest, 0, 0};
  TRY(seen.init_inside, check_status(init.get(), "init", posture, false));
  TRY(seen.guest_inside, check_status(proc.get(), "the guest", posture, true));
  TRY_VOID(check_membership(proc.get(), cgroup));
  TRY_VOID(check_namespaces(init.get(), proc.get(), posture));
  TRY_VOID(check_descriptors(proc.get(), *guest, posture.last_descriptor));
  return seen;
}

}  // namespace jailrun
