#include <dirent.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>

#include "jail/confine/cgroup.h"
#include "jail/confine/cgroup_files.h"
#include "jail/sys/uapi.h"

namespace jailrun {
namespace {

constexpr const char* kKeeperLeaf = "keeper";
constexpr std::string_view kPrefix = "jailrun-";

std::vector<std::string> groups_in(int dir) {
  std::vector<std::string> names;
  const int fd = ::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* listing = fd < 0 ? nullptr : ::fdopendir(fd);
  if (listing == nullptr) return names;
  while (const dirent* entry = ::readdir(listing)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(listing);
  return names;
}

// Kills and removes a group and those directly in it.
bool empty_group(int parent, const std::string& name) {
  const Fd dir(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir.valid()) return errno == ENOENT;
  kill_members(dir.get());
  await_empty(dir.get(), 1000);
  for (const std::string& leaf : groups_in(dir.get()))
    ::unlinkat(dir.get(), leaf.c_str(), AT_REMOVEDIR);
  return ::unlinkat(parent, name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT;
}

bool is_locked(int parent, const std::string& name) {
  const Fd dir(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return dir.valid() && ::flock(dir.get(), LOCK_EX | LOCK_NB) != 0;
}

}  // namespace

Expected<WorldGroup> WorldGroup::create(const std::string& name, std::uint32_t keeper_uid) {
  TRY(const Hierarchy host, find_hierarchy());
  WorldGroup group;
  group.keeper_uid_ = keeper_uid;
  group.path_ = (host.own == "/" ? "" : host.own) + "/" + name;
  const std::string parent = host.v2_root + host.own;
  group.parent_ = Fd(::open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  const int in = group.parent_.get();
  const Error refused =
      Error{Stage::MakeCgroup, name, 0, "cannot create the cgroup " + name + " below " + parent,
            "run as root or have the group delegated; see `jailrun doctor`"};
  if (::mkdirat(in, name.c_str(), 0755) != 0) {
    // The block of uids says that nobody alive uses this name: a killed owner left it.
    if (errno != EEXIST || is_locked(in, name) || !empty_group(in, name) ||
        ::mkdirat(in, name.c_str(), 0755) != 0)
      return std::unexpected(refused);
  }
  group.name_ = name;
  group.dir_ = Fd(::openat(in, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // On pure v2 its jails need controllers; where they are v1's this changes nothing.
  write_file_at(group.dir_.get(), "cgroup.subtree_control", "+memory +pids +cpu");
  const bool made = ::flock(group.dir_.get(), LOCK_EX | LOCK_NB) == 0 &&
                    ::mkdirat(group.dir_.get(), kKeeperLeaf, 0755) == 0 &&
                    ::fchownat(group.dir_.get(), "cgroup.procs", keeper_uid,
                               static_cast<gid_t>(-1), 0) == 0;
  group.keeper_ =
      Fd(::openat(group.dir_.get(), kKeeperLeaf, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!made || !group.keeper_.valid()) return std::unexpected(refused);
  return group;
}

WorldGroup::~WorldGroup() {
  if (!dir_.valid() || !parent_.valid()) return;
  keeper_.reset();
  dir_.reset();
  empty_group(parent_.get(), name_);
}

std::vector<std::string> sweep_cgroups() {
  std::vector<std::string> swept;
  const Expected<Hierarchy> host = find_hierarchy();
  if (!host) return swept;
  std::vector<std::string> parents = {host->v2_root + host->own};
  for (const char* controller : {"memory", "pids", "cpu"}) {
    const auto own = host->pure ? std::nullopt : own_group(host->table, controller);
    if (own) parents.push_back(std::string(kCgroupMount) + "/" + controller + *own);
  }
  for (const std::string& path : parents) {
    const Fd parent(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (const std::string& name : groups_in(parent.get())) {
      // Every owner holds a lock on its leaves as long as it lives.
      if (!name.starts_with(kPrefix) || is_locked(parent.get(), name)) continue;
      if (empty_group(parent.get(), name)) swept.push_back(path + "/" + name);
    }
  }
  return swept;
}

}  // namespace jailrun
