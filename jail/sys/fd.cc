#include "jail/sys/fd.h"

#include <cerrno>

namespace jailrun {

std::string read_file_at(int dir, const char* path, std::size_t limit) {
  const Fd file(::openat(dir, path, O_RDONLY | O_CLOEXEC));
  std::string text;
  if (!file.valid()) return text;
  char buffer[4096];
  while (text.size() < limit) {
    const ssize_t n = ::read(file.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
    // A short read from proc, sysfs or a cgroup file is its end: saves one system call each.
    if (static_cast<std::size_t>(n) < sizeof buffer / 2) break;
  }
  return text;
}

int write_file_at(int dir, const char* path, std::string_view text) {
  const Fd file(::openat(dir, path, O_WRONLY | O_CLOEXEC));
  if (!file.valid()) return errno;
  return ::write(file.get(), text.data(), text.size()) < 0 ? errno : 0;
}

int write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    data += n;
    size -= static_cast<std::size_t>(n);
  }
  return 0;
}

}  // namespace jailrun
