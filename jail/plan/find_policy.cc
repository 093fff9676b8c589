#include "jail/plan/find_policy.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>

#include "jail/plan/nearest.h"
#include "jail/sys/fd.h"

namespace jailrun {
namespace {

std::string directory_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(path.substr(0, std::max<std::size_t>(slash, 1)));
}

// The directory above the one that this program lies in, "" if that cannot be told.
std::string prefix_of_program() {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  if (length <= 0 || static_cast<std::size_t>(length) == sizeof path) return "";
  return directory_of(directory_of({path, static_cast<std::size_t>(length)}));
}

PolicySource source_at(std::string path, std::string text) {
  std::vector<std::string> dirs = {directory_of(path) + "/seccomp"};
  for (const std::string& directory : policy_dirs()) {
    std::string groups = directory + "/seccomp";
    if (std::find(dirs.begin(), dirs.end(), groups) == dirs.end())
      dirs.push_back(std::move(groups));
  }
  return {std::move(path), std::move(text), std::move(dirs)};
}

Error unknown_policy(std::string_view name) {
  const std::vector<std::string> known = policy_names();
  std::string list;
  for (const std::string& each : known) list += (list.empty() ? "" : ", ") + each;
  std::string remedy = known.empty()
                           ? "no policy is installed: set JAILRUN_POLICY_DIR, or give a path"
                           : "known policies: " + list + "; or give a path with a '/'";
  const std::string near = nearest(name, known);
  if (!near.empty()) remedy = "did you mean " + in_quotes(near) + "? " + remedy;
  return {Stage::None, std::string(name), 0, "no policy " + in_quotes(name), std::move(remedy)};
}

}  // namespace

std::vector<std::string> policy_files(const std::string& directory) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(directory.c_str()), closedir);
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name.size() > kPolicySuffix.size() && name.ends_with(kPolicySuffix) && name[0] != '.') {
      names.emplace_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> policy_dirs() {
  std::vector<std::string> dirs;
  const char* chosen = std::getenv("JAILRUN_POLICY_DIR");
  dirs.emplace_back(chosen != nullptr && *chosen != '\0' ? chosen : "/etc/jailrun/policies");
  const std::string prefix = prefix_of_program();
  if (!prefix.empty()) dirs.push_back((prefix == "/" ? "" : prefix) + "/share/jailrun/policies");
  dirs.emplace_back(JAILRUN_SOURCE_DIR "/policies");
  return dirs;
}

std::vector<std::string> policy_names() {
  std::vector<std::string> names;
  for (const std::string& directory : policy_dirs()) {
    for (const std::string& entry : policy_files(directory)) {
      names.push_back(entry.substr(0, entry.size() - kPolicySuffix.size()));
    }
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

Expected<std::string> read_policy_file(const std::string& path) {
  // O_NONBLOCK: a FIFO in the place of a policy must not hold us up.
  const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info{};
  if (!fd.valid() || fstat(fd.get(), &info) != 0) {
    return std::unexpected(sys_error(Stage::None, path, "cannot read policy " + path,
                                     "check the path and its permissions"));
  }
  const auto refuse = [&](const char* what, const char* remedy) {
    return std::unexpected(Error{Stage::None, path, 0, "policy " + path + what, remedy});
  };
  if (!S_ISREG(info.st_mode))
    return refuse(" is not a regular file", "give the path of a text file");
  if (static_cast<std::size_t>(info.st_size) > kPolicyMaxBytes) {
    return refuse(" is larger than 1 MiB", "no policy is that long: is it the right file?");
  }
  std::string text;
  char chunk[16384];
  while (text.size() <= kPolicyMaxBytes) {
    const ssize_t got = read(fd.get(), chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      return std::unexpected(sys_error(Stage::None, path, "cannot read policy " + path,
                                       "check the file system it lies on"));
    }
    if (got == 0) return text;
    text.append(chunk, static_cast<std::size_t>(got));
  }
  return refuse(" is larger than 1 MiB", "no policy is that long: is it the right file?");
}

Expected<PolicySource> find_policy(std::string_view name) {
  if (name.find('/') != std::string_view::npos) {
    std::string path(name);
    TRY(std::string text, read_policy_file(path));
    return source_at(std::move(path), std::move(text));
  }
  for (const std::string& directory : policy_dirs()) {
    std::string path = directory + "/" + std::string(name) + std::string(kPolicySuffix);
    if (access(path.c_str(), F_OK) != 0) continue;
    TRY(std::string text, read_policy_file(path));
    return source_at(std::move(path), std::move(text));
  }
  return std::unexpected(unknown_policy(name));
}

std::vector<std::string> base_dirs(const PolicySource& source) {
  std::vector<std::string> dirs;
  if (source.text.find("base:") == std::string::npos) return dirs;
  for (const std::string& groups : source.group_dirs) dirs.push_back(directory_of(groups));
  return dirs;
}

std::string group_stamp(const PolicySource& source) {
  std::string stamp;
  std::vector<std::string> dirs = source.group_dirs;
  for (std::string& each : base_dirs(source)) dirs.push_back(std::move(each));
  for (const std::string& directory : dirs) {
    for (const std::string& entry : policy_files(directory)) {
      struct stat info{};
      const std::string path = directory + "/" + entry;
      if (stat(path.c_str(), &info) != 0) continue;
      stamp += path + ' ' + std::to_string(info.st_dev) + ' ' + std::to_string(info.st_ino) + ' ' +
               std::to_string(info.st_size) + ' ' + std::to_string(info.st_ctim.tv_sec) + '.' +
               std::to_string(info.st_ctim.tv_nsec) + '\n';
    }
  }
  return stamp;
}

}  // namespace jailrun
