#include "agent/jails/workspace.h"

#include <fcntl.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace jailrun::agent {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMostFiles = 500;

std::string short_id() {
  unsigned char bytes[3] = {};
  if (getrandom(bytes, sizeof bytes, 0) < 0) bytes[0] = 1;
  char text[7];
  std::snprintf(text, sizeof text, "%02x%02x%02x", bytes[0], bytes[1], bytes[2]);
  return text;
}

Error out_error(const fs::path& path, int errno_value, const char* what) {
  return Error{Stage::None, path.string(), errno_value,
               std::string("cannot ") + what + " " + path.string(),
               "name a directory you can write, with space on it: --out DIR"};
}

// Moves without replacing; false with errno EEXIST if the name is taken.
bool move_new(const fs::path& from, const fs::path& to) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return true;
  if (errno != EINVAL) return false;  // EINVAL: a file system without that flag
  std::error_code failed;
  if (fs::exists(fs::symlink_status(to, failed))) {
    errno = EEXIST;
    return false;
  }
  return std::rename(from.c_str(), to.c_str()) == 0;
}

Expected<fs::path> place(const fs::path& from, const fs::path& wanted) {
  fs::path to = wanted;
  for (int n = 2; n < 1000; ++n) {
    if (move_new(from, to)) return to;
    if (errno != EEXIST) break;
    to = wanted.parent_path() /
         (wanted.stem().string() + "-" + std::to_string(n) + wanted.extension().string());
  }
  return std::unexpected(out_error(wanted, errno, "write"));
}

}  // namespace

Expected<Workspace> Workspace::open(const std::string& out) {
  std::error_code failed;
  Workspace made;
  made.target_ = out.empty() ? "jailrun-out-" + short_id() : out;
  while (made.target_.size() > 1 && made.target_.back() == '/') made.target_.pop_back();
  auto status = fs::status(made.target_, failed);
  if (fs::exists(status) && !fs::is_directory(status))
    return std::unexpected(out_error(made.target_, ENOTDIR, "write to"));
  auto beside =
      fs::is_directory(status) ? fs::path(made.target_) : fs::path(made.target_).parent_path();
  std::string pattern = (beside / ".jailrun-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr)
    return std::unexpected(out_error(beside.empty() ? "." : beside, errno, "write to"));
  made.staging_ = pattern;
  return made;
}

Workspace::Workspace(Workspace&& other) noexcept
    : target_(std::move(other.target_)),
      staging_(std::exchange(other.staging_, {})),
      runs_(other.runs_) {}

Workspace::~Workspace() {
  std::error_code ignored;
  if (!staging_.empty()) fs::remove_all(staging_, ignored);
}

Expected<std::string> Workspace::new_run() {
  auto path = fs::absolute(staging_) / std::to_string(++runs_);
  std::error_code failed;
  if (!fs::create_directory(path, failed))
    return std::unexpected(out_error(path, failed.value(), "make"));
  return path.string();
}

Expected<std::vector<SavedFile>> Workspace::keep(const std::string& run) {
  std::vector<SavedFile> kept;
  std::vector<fs::path> found;
  std::error_code failed;
  for (fs::recursive_directory_iterator at(run, failed), end; !failed && at != end;
       at.increment(failed))
    if (at->symlink_status(failed).type() == fs::file_type::regular && found.size() < kMostFiles)
      found.push_back(at->path());
  std::sort(found.begin(), found.end());
  for (const auto& from : found) {
    auto wanted = fs::path(target_) / from.lexically_relative(run);
    fs::create_directories(wanted.parent_path(), failed);
    if (failed) return std::unexpected(out_error(wanted.parent_path(), failed.value(), "make"));
    TRY(fs::path to, place(from, wanted));
    auto bytes = fs::file_size(to, failed);
    kept.push_back({to.string(), to.lexically_relative(target_).string(), failed ? 0 : bytes});
  }
  return kept;
}

}  // namespace jailrun::agent
