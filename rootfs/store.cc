#include "rootfs/store.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <tuple>

#include "rootfs/disk.h"

namespace jailrun::rootfs {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kKeyLength = 16;
constexpr const char* kBuilding = ".building-";
constexpr const char* kRemoving = ".removing-";

Expected<std::vector<std::string>> names_in(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator item(directory, code), end; !code && item != end;
       item.increment(code))
    names.push_back(item->path().filename().string());
  if (code && code != std::errc::no_such_file_or_directory)
    return std::unexpected(Error{Stage::None, directory, code.value(), "cannot list " + directory,
                                 "check the rights of this directory"});
  std::ranges::sort(names);
  return names;
}

// Does a live process have a mount of `path` in sight? A jail's root is one: the first field of its
// mountinfo that names a directory is the path within the file system, which follows renames.
// Processes that we may not look at belong to others, and so do not use our store. The same
// generation in another store counts as well: it only stays until the next build.
bool path_in_use(const std::string& path) {
  const std::string wanted = path.substr(path.rfind('/')) + "/tree";
  std::error_code code;
  for (fs::directory_iterator item("/proc", code), end; !code && item != end;
       item.increment(code)) {
    const std::string pid = item->path().filename().string();
    if (pid.find_first_not_of("0123456789") != std::string::npos) continue;
    const Expected<std::string> mounts = read_file("/proc/" + pid + "/mountinfo");
    if (mounts && mounts->find(wanted + " ") != std::string::npos) return true;
  }
  return false;
}

std::string target_of(const std::string& link) {
  char target[4096];
  const ssize_t n = ::readlink(link.c_str(), target, sizeof target);
  return n < 0 ? std::string() : std::string(target, static_cast<std::size_t>(n));
}

// A tree is renamed before it is removed, so that no generation is ever half there under its own
// name.
Expected<void> retire(const std::string& root, const std::string& name) {
  const std::string doomed = root + "/" + kRemoving + name + "-" + std::to_string(::getpid());
  TRY_VOID(rename_path(root + "/" + name, doomed));
  return remove_tree(doomed);
}

}  // namespace

bool valid_image_name(const std::string& name) {
  return !name.empty() && name.size() < 64 && name[0] >= 'a' && name[0] <= 'z' &&
         name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-_") == std::string::npos;
}

Expected<Store> Store::of_user() {
  if (const char* own = std::getenv("JAILRUN_STATE_DIR"); own != nullptr && *own != '\0') {
    if (*own == '/') return Store(own);
    return std::unexpected(Error{Stage::None, own, 0,
                                 "JAILRUN_STATE_DIR is not an absolute path: " + std::string(own),
                                 "let it begin with '/'"});
  }
  if (::geteuid() == 0) return Store("/var/lib/jailrun");
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home != '/') {
    const passwd* user = ::getpwuid(::geteuid());
    home = user != nullptr ? user->pw_dir : nullptr;
  }
  if (home == nullptr)
    return std::unexpected(Error{Stage::None, "HOME", 0, "no home directory for the images",
                                 "set HOME or JAILRUN_STATE_DIR"});
  return Store(std::string(home) + "/.local/share/jailrun");
}

Expected<void> Store::make_directories() const {
  TRY_VOID(rootfs::make_directories(root(), 0755));
  // Nobody else may put a package there.
  return rootfs::make_directories(cache(), 0700);
}

Expected<Fd> Store::lock() const {
  const std::string path = root() + "/.lock";
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT, 0600));
  if (!fd.valid())
    return std::unexpected(
        sys_error(Stage::None, path, "cannot open " + path, "check the rights of this directory"));
  if (::flock(fd.get(), LOCK_EX) != 0)
    return std::unexpected(sys_error(Stage::None, path, "cannot lock " + path,
                                     "another build may be running: wait for it"));
  return fd;
}

Expected<std::vector<Generation>> Store::generations() const {
  TRY(const std::vector<std::string> names, names_in(root()));
  std::vector<Generation> found;
  for (const std::string& name : names) {
    const std::size_t dash = name.rfind('-');
    if (name[0] == '.' || dash == std::string::npos || name.size() - dash - 1 != kKeyLength)
      continue;
    struct stat status;
    const std::string path = root() + "/" + name;
    if (::lstat(path.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) continue;
    Generation generation{.name = name.substr(0, dash), .key = name.substr(dash + 1), .path = path};
    generation.current = target_of(root() + "/" + generation.name) == name;
    found.push_back(std::move(generation));
  }
  std::ranges::sort(found, {},
                    [](const Generation& g) { return std::tuple(g.name, !g.current, g.key); });
  return found;
}

Expected<Generation> Store::current(const std::string& name) const {
  TRY(const std::vector<Generation> all, generations());
  for (const Generation& generation : all)
    if (generation.name == name && generation.current) return generation;
  return std::unexpected(Error{Stage::None, name, ENOENT, "no image " + name + " in " + root(),
                               "build it: jailrun rootfs build"});
}

Expected<void> Store::publish(const std::string& built, const std::string& name,
                              const std::string& key) const {
  const std::string generation = name + "-" + key, path = root() + "/" + generation;
  TRY_VOID(sync_file_system(built));
  if (::access(path.c_str(), F_OK) == 0) {
    // A rebuild of the same recipe: the two change places, so that the image never is away.
    TRY_VOID(exchange_paths(built, path));
  } else {
    TRY_VOID(rename_path(built, path));
  }
  TRY_VOID(sync_directory(root()));
  TRY_VOID(replace_symlink(root() + "/" + name, generation));
  return sync_directory(root());
}

Expected<std::vector<std::string>> Store::sweep(const std::string& name) const {
  std::vector<std::string> removed;
  TRY(const std::vector<std::string> names, names_in(root()));
  for (const std::string& left : names) {
    const std::string path = root() + "/" + left;
    if ((!left.starts_with(kBuilding) && !left.starts_with(kRemoving)) || path_in_use(path))
      continue;
    TRY_VOID(remove_tree(path));
    removed.push_back(path);
  }
  TRY(const std::vector<Generation> all, generations());
  for (const Generation& generation : all) {
    if (generation.name != name || generation.current || in_use(generation)) continue;
    TRY_VOID(retire(root(), generation.name + "-" + generation.key));
    removed.push_back(generation.path);
  }
  return removed;
}

bool in_use(const Generation& generation) { return path_in_use(generation.path); }

Expected<Manifest> read_manifest(const Generation& generation) {
  const std::string path = generation.path + "/manifest.json";
  TRY(const std::string text, read_file(path));
  return from_json(text, path);
}

}  // namespace jailrun::rootfs
