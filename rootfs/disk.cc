#include "rootfs/disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

namespace jailrun::rootfs {
namespace {

constexpr const char* kRemedy = "check the rights and the free space of this directory";

std::unexpected<Error> failed(const std::string& what, const std::string& path) {
  return std::unexpected(sys_error(Stage::None, path, "cannot " + what + " " + path, kRemedy));
}

}  // namespace

Expected<void> make_directories(const std::string& path, unsigned mode) {
  for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) return failed("make", part);
    if (end == std::string::npos) return {};
  }
}

Expected<Fd> open_directory(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return failed("open", path);
  return fd;
}

Expected<std::string> read_file(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return failed("open", path);
  std::string text;
  for (char buffer[65536];;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failed("read", path);
    if (n == 0) return text;
    text.append(buffer, static_cast<std::size_t>(n));
  }
}

Expected<void> write_file(const std::string& path, std::string_view text) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) return failed("create", path);
  errno = write_all(fd.get(), text.data(), text.size());
  if (errno != 0) return failed("write", path);
  return {};
}

Expected<void> sync_file_system(const std::string& path) {
  // One syncfs instead of an fsync for each of twenty thousand files.
  TRY(const Fd fd, open_directory(path));
  if (::syncfs(fd.get()) != 0) return failed("sync", path);
  return {};
}

Expected<void> sync_directory(const std::string& path) {
  TRY(const Fd fd, open_directory(path));
  if (::fsync(fd.get()) != 0) return failed("sync", path);
  return {};
}

Expected<void> rename_path(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return failed("rename " + from + " to", to);
  return {};
}

Expected<void> exchange_paths(const std::string& a, const std::string& b) {
  if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) != 0)
    return failed("exchange " + a + " and", b);
  return {};
}

Expected<void> replace_symlink(const std::string& link, const std::string& target) {
  const std::string fresh = link + ".new";
  if (::unlink(fresh.c_str()) != 0 && errno != ENOENT) return failed("remove", fresh);
  if (::symlink(target.c_str(), fresh.c_str()) != 0) return failed("make", fresh);
  return rename_path(fresh, link);
}

Expected<void> remove_tree(const std::string& path) {
  std::error_code code;
  std::filesystem::remove_all(path, code);
  if (!code) return {};
  errno = code.value();
  return failed("remove", path);
}

}  // namespace jailrun::rootfs
