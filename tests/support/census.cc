#include "tests/support/census.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "jail/sys/fd.h"

namespace jailrun::test {
namespace {

namespace fs = std::filesystem;

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

bool is_number(const std::string& name) {
  return name.find_first_not_of("0123456789") == std::string::npos;
}

void count_descriptors(std::map<std::string, std::string>& census) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd", error)) {
    const std::string target = fs::read_symlink(entry.path(), error).string();
    // The listing's own descriptor.
    if (target.ends_with("/fd") && target.starts_with("/proc/")) continue;
    census["descriptor " + entry.path().filename().string()] = target;
  }
}

// Guests have uids from 1900000000 upward on the host (jail/confine/ids.h); what jailrun forks
// keeps its name; what a library test forks is a child of this process. Zombies count as well, but
// for those of the host's init, which takes its time.
void count_processes(std::map<std::string, std::string>& census) {
  const std::string child_of_ours = "\nPPid:\t" + std::to_string(::getpid()) + "\n";
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string pid = entry.path().filename().string();
    if (!is_number(pid)) continue;
    const std::string status = text_of(entry.path() / "status");
    if (status.find("\nState:\tZ") != std::string::npos &&
        status.find("\nPPid:\t1\n") != std::string::npos)
      continue;
    const std::size_t at = status.find("\nUid:\t19000");
    const bool ours =
        status.starts_with("Name:\tjailrun") || status.find(child_of_ours) != std::string::npos;
    if (ours || at != std::string::npos)
      census["process " + pid] = status.substr(0, status.find('\n'));
  }
}

void count_cgroups(std::map<std::string, std::string>& census) {
  std::error_code error;
  fs::recursive_directory_iterator at("/sys/fs/cgroup",
                                      fs::directory_options::skip_permission_denied, error);
  for (const fs::recursive_directory_iterator end; at != end; at.increment(error)) {
    if (error) break;
    if (at->path().filename().string().starts_with("jailrun-"))
      census["cgroup " + at->path().string()] = "";
  }
}

// What a host keeps from its first jail on, and the first test would otherwise be blamed for.
bool is_kept(const fs::path& path) {
  const std::string name = path.filename().string();
  return path.parent_path() == "/run/jailrun" &&
         (name == "net.null" || name == "net.lock" || name == "uids" || name.starts_with("plan-"));
}

// The fifth word of a line of mountinfo.
std::string mount_point(const std::string& line) {
  std::istringstream words(line);
  std::string word;
  for (int i = 0; i < 5; ++i) words >> word;
  return word;
}

// Of a directory that everybody uses only the entries with our name.
void count_files(std::map<std::string, std::string>& census, const fs::path& directory,
                 bool shared) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (shared && entry.path().filename().string().find("jailrun") == std::string::npos) continue;
    if (is_kept(entry.path())) continue;
    census["file " + entry.path().string()] = "";
  }
}

}  // namespace

std::map<std::string, std::string> take_census() {
  std::map<std::string, std::string> census;
  count_descriptors(census);
  count_processes(census);
  count_cgroups(census);
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);)
    if (!is_kept(mount_point(line))) census["mount " + line] = "";
  for (const char* directory : {"/run/jailrun", "/var/lib/jailrun", "/var/lib/jailrun/rootfs"}) {
    count_files(census, directory, false);
  }
  for (const char* directory : {"/tmp", "/dev/shm"}) count_files(census, directory, true);
  return census;
}

std::string left_behind(const std::map<std::string, std::string>& before,
                        const std::map<std::string, std::string>& after) {
  std::string text;
  for (const auto& [name, detail] : after) {
    if (!before.contains(name)) text += name + " " + detail + "\n";
  }
  return text;
}

}  // namespace jailrun::test
