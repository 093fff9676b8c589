#include <dirent.h>
#include <poll.h>
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

// The group with its lock, as its owner holds it; empty where somebody does, or it is gone. Kept
// while the group is emptied, so that whoever makes it anew meanwhile fails instead of being
// killed.
Fd lock_group(int parent, const std::string& name) {
  Fd dir(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Not one that was removed and made anew since it was opened: what follows goes by its name.
  if (dir.valid() && !take_group(parent, name, dir.get())) return {};
  return dir;
}

// A new group, locked; empty where none is to be had.
Fd make_group(int parent, const std::string& name) {
  for (int i = 0; i < kGroupTries; ++i) {
    if (::mkdirat(parent, name.c_str(), 0755) != 0) {
      // The block of uids says that nobody alive uses this name: a killed owner left it.
      if (errno != EEXIST) return {};
      const Fd left = lock_group(parent, name);
      if (left.valid() && !empty_group(parent, name)) return {};
      if (!left.valid()) ::poll(nullptr, 0, 1);
      continue;
    }
    Fd dir(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!dir.valid() && errno != ENOENT) {  // no descriptors, say: nothing of it stays
      ::unlinkat(parent, name.c_str(), AT_REMOVEDIR);
      return {};
    }
    if (dir.valid() && take_group(parent, name, dir.get())) return dir;
    ::poll(nullptr, 0, 1);
  }
  return {};
}

}  // namespace

Expected<WorldGroup> WorldGroup::create(const std::string& name, std::uint32_t keeper_uid) {
  TRY(CgroupParents parents, find_parents());
  WorldGroup group;
  const std::string parent = parents.v2.path();
  group.parent_ = std::move(parents.v2.dir);
  const int in = group.parent_.get();
  const Error refused =
      Error{Stage::MakeCgroup, name, 0, "cannot create the cgroup " + name + " below " + parent,
            "run as root or have the group delegated; see `jailrun doctor`"};
  Fd made = make_group(in, name);
  if (!made.valid()) return std::unexpected(refused);
  group.name_ = name;
  parents.v2.own = (parents.v2.own == "/" ? "" : parents.v2.own) + "/" + name;
  parents.v2.dir = std::move(made);
  const int dir = parents.v2.dir.get();
  // On pure v2 its jails need controllers; where they are v1's this changes nothing.
  write_file_at(dir, "cgroup.subtree_control", "+memory +pids +cpu");
  const bool whole = ::mkdirat(dir, kKeeperLeaf, 0755) == 0 &&
                     ::fchownat(dir, "cgroup.procs", keeper_uid, static_cast<gid_t>(-1), 0) == 0;
  group.keeper_ = Fd(::openat(dir, kKeeperLeaf, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  group.parents_ = std::make_shared<const CgroupParents>(std::move(parents));
  if (!whole || !group.keeper_.valid()) return std::unexpected(refused);
  return group;
}

WorldGroup::~WorldGroup() {
  if (!parent_.valid() || name_.empty()) return;
  empty_group(parent_.get(), name_);
}

std::vector<std::string> sweep_cgroups() {
  std::vector<std::string> swept;
  const Expected<CgroupParents> host = find_parents();
  if (!host) return swept;
  for (const CgroupParent* parent : {&host->v2, &host->memory, &host->pids, &host->cpu}) {
    if (!parent->dir.valid()) continue;
    for (const std::string& name : groups_in(parent->dir.get())) {
      // Every owner holds a lock on its leaves as long as it lives.
      if (!name.starts_with(kPrefix)) continue;
      const Fd left = lock_group(parent->dir.get(), name);
      if (!left.valid()) continue;
      if (empty_group(parent->dir.get(), name)) swept.push_back(parent->path() + "/" + name);
    }
  }
  return swept;
}

}  // namespace jailrun
