#include "jail/confine/delegation.h"

#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <optional>

#include "jail/confine/cgroup_files.h"

namespace jailrun {
namespace {

constexpr const char* kControl = "cgroup.subtree_control";
constexpr const char* kControllers = "+memory +pids +cpu";
constexpr const char* kOwnerLeaf = "owner";  // not "jailrun-": sweeping leaves it alone
constexpr const char* kOurGroup = "jailrun";

Fd open_group(const std::string& path) {
  return Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

bool names(const std::string& list, const char* word) {
  return (" " + list).find(" " + std::string(word)) != std::string::npos;
}

bool gives(int group) {
  std::string list = read_file_at(group, kControl, 256);
  if (!list.empty() && list.back() == '\n') list.pop_back();
  list += ' ';
  return names(list, "memory ") && names(list, "pids ") && names(list, "cpu ");
}

// 0, or why not: EBUSY, a process is in it.
int make_give(int group) { return gives(group) ? 0 : write_file_at(group, kControl, kControllers); }

// What systemd writes on groups that it leaves to whoever runs in them.
bool delegated(int group) {
  char value = 0;
  return (::fgetxattr(group, "user.delegate", &value, 1) == 1 ||
          ::fgetxattr(group, "trusted.delegate", &value, 1) == 1) &&
         value == '1';
}

// The group that a plain user has asked its manager for: the own one, or the one above where it has
// been left for a leaf already.
bool asked_for(const std::string& path, const std::string& own) {
  if (::geteuid() == 0 || std::getenv(kInOwnScope) == nullptr) return false;
  const std::string leaf = std::string("/") + kOwnerLeaf;
  return own.ends_with(leaf) ? path + leaf == own : path == own;
}

// Leaves a group in which nobody else is, so that it can give.
int leave(int group) {
  const std::string members = read_file_at(group, "cgroup.procs", 64);
  if (members != std::to_string(::getpid()) + "\n") return EBUSY;
  if (::mkdirat(group, kOwnerLeaf, 0755) != 0 && errno != EEXIST) return errno;
  const Fd leaf(::openat(group, kOwnerLeaf, O_PATH | O_DIRECTORY | O_CLOEXEC));
  return write_file_at(leaf.get(), "cgroup.procs", "0");
}

// A limit that holds for the processes of this group alone and below it: what it is, else "".
std::string own_limit(int group) {
  const std::string memory = read_file_at(group, "memory.max", 64);
  if (!memory.empty() && memory != "max\n") return "memory.max";
  const std::string cpu = read_file_at(group, "cpu.max", 64);
  return cpu.empty() || cpu.starts_with("max") ? "" : "cpu.max";
}

// The path of the own group on pure v2; empty elsewhere.
std::string own_pure_group() {
  std::string table = read_file_at(AT_FDCWD, "/proc/self/cgroup");
  if (!table.starts_with("0::/") || table.find('\n') != table.size() - 1) return "";
  table.pop_back();
  return table.substr(3);
}

Error not_held(const std::string& group, const std::string& limit) {
  return Error{Stage::MakeCgroup, group, 0,
               "the " + limit + " of " + group + " would not hold for jails",
               "have it delegated with nothing else in it: `systemd-run --scope -p Delegate=yes`, "
               "or Delegate=yes in the service"};
}

}  // namespace

bool wants_delegation() {
  const std::string own = own_pure_group();
  if (own.empty()) return false;
  const Fd group = open_group(kCgroupMount + own);
  const bool alone =
      read_file_at(group.get(), "cgroup.procs", 64) == std::to_string(::getpid()) + "\n";
  const bool writable = ::faccessat(group.get(), ".", W_OK, AT_EACCESS) == 0;
  return !(alone && writable && delegated(group.get()));
}

Expected<std::string> find_giving_group(const std::string& mount, const std::string& own) {
  std::optional<Error> passed_over;
  for (std::string path = own;;) {
    const Fd group = open_group(mount + path);
    const bool root = path.empty() || path == "/";
    const bool ours = delegated(group.get()) || asked_for(path, own);
    int refused = group.valid() ? make_give(group.get()) : errno;
    // The kernel's own root takes any process: one that is busy is a container's.
    if (refused == EBUSY && path == own && (ours || root) && leave(group.get()) == 0)
      refused = make_give(group.get());
    if (refused == 0 && passed_over) return std::unexpected(*passed_over);
    if (refused == 0 && ours) return path;
    if (refused == EMFILE || refused == ENFILE) {
      return std::unexpected(Error{Stage::MakeCgroup, mount + path, refused,
                                   "cannot open " + mount + path, "raise the limit of open files"});
    }
    if (refused == 0) {
      // A group of our own that gives: systemd cannot take controllers away above it.
      if (::mkdirat(group.get(), kOurGroup, 0755) == 0 || errno == EEXIST) {
        std::string below = (root ? "" : path) + "/" + kOurGroup;
        if (make_give(open_group(mount + below).get()) == 0) return below;
      }
    }
    if (const std::string limit = own_limit(group.get()); !limit.empty() && !passed_over)
      passed_over = not_held(mount + path, limit);
    if (root) return own;
    path.resize(path.rfind('/'));
    if (path.empty()) path = "/";
  }
}

}  // namespace jailrun
