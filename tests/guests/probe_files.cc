// Files: reading and writing where nothing of the kind may be.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/guests/probe.h"

namespace probe {
namespace {

int read_file(char** a) {
  const int fd = ::open(a[0], O_RDONLY);
  char byte;
  if (fd < 0) return errno;
  return ::read(fd, &byte, 1) < 0 ? errno : 0;
}

int open_write(char** a) { return outcome(::open(a[0], O_WRONLY)); }
int create(char** a) { return outcome(::open(a[0], O_WRONLY | O_CREAT, 0644)); }
int chmod_path(char** a) { return outcome(::chmod(a[0], 0777)); }
int rename_path(char** a) { return outcome(::rename(a[0], a[1])); }
int unlink_path(char** a) { return outcome(::unlink(a[0])); }
int hardlink(char** a) { return outcome(::link(a[0], a[1])); }
int mkfifo_path(char** a) { return outcome(::mkfifo(a[0], 0644)); }
int device(char** a) { return outcome(::mknod(a[0], S_IFCHR | 0666, makedev(1, 3))); }
int touch(char** a) { return outcome(::utimensat(AT_FDCWD, a[0], nullptr, 0)); }
int sethostname_to(char** a) { return outcome(::sethostname(a[0], std::strlen(a[0]))); }

// Writes into the running program's own file, as CVE-2019-5736 did: through the link, and through a
// descriptor of it that is opened again.
int overwrite_exe(char** a) {
  const int direct = ::open(a[0], O_WRONLY);
  if (direct >= 0) return 0;
  const int error = errno;
  const int fd = ::open(a[0], O_RDONLY);
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return fd >= 0 && ::open(path, O_WRONLY) >= 0 ? 0 : error;
}

// Prints every directory below ARGUMENT in which a file can be made, and removes that file again.
void list_writable(const std::string& path) {
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) return;
  const std::string file = path + "/.probe";
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600);
  if (fd >= 0) {
    std::printf("%s\n", path.c_str());
    ::close(fd);
    ::unlink(file.c_str());
  }
  while (const dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string below = (path == "/" ? "" : path) + "/" + name;
    struct stat st{};
    // Not into /proc: its directories are no places for files, and they come and go.
    if (::lstat(below.c_str(), &st) == 0 && S_ISDIR(st.st_mode) && below != "/proc")
      list_writable(below);
  }
  ::closedir(dir);
}

int writable(char** a) {
  list_writable(a[0]);
  return 0;
}

int remount(char** a) {
  return outcome(::mount("none", a[0], "tmpfs", MS_REMOUNT | MS_BIND, nullptr));
}
int mount_tmpfs(char** a) { return outcome(::mount("none", a[0], "tmpfs", 0, nullptr)); }
int unmount(char** a) { return outcome(::umount2(a[0], MNT_DETACH)); }
int chroot_to(char** a) { return outcome(::chroot(a[0])); }

// Finds any descriptor above 2.
int extra_descriptor(char**) {
  for (int fd = 3; fd < 4096; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) return 0;
  }
  return EBADF;
}

int open_terminal(char**) { return outcome(::open("/dev/tty", O_RDWR)); }

int inject_terminal(char**) {
  constexpr unsigned long kTiocsti = 0x5412;
  const int fd = ::open("/dev/tty", O_RDWR);
  long result = -1;
  for (const int each : {fd, 0, 1, 2}) {
    if (each >= 0 && result < 0) result = ::syscall(SYS_ioctl, each, kTiocsti, "x");
  }
  return outcome(result);
}

int system_call(char** a) {
  long values[7] = {};
  for (int i = 0; i < 7 && a[i] != nullptr; ++i)
    values[i] = static_cast<long>(std::strtoull(a[i], nullptr, 0));
  return outcome(
      ::syscall(values[0], values[1], values[2], values[3], values[4], values[5], values[6]));
}

// getpid by the 32-bit entry: its number there is 20.
int int80(char**) {
  long result = 20;
  asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
  return result > 0 ? 0 : kRefused;
}

}  // namespace

const Probe kFileProbes[] = {
    {"read", read_file},
    {"open-write", open_write},
    {"create", create},
    {"chmod", chmod_path},
    {"rename", rename_path},
    {"unlink", unlink_path},
    {"hardlink", hardlink},
    {"mkfifo", mkfifo_path},
    {"device", device},
    {"touch", touch},
    {"sethostname", sethostname_to},
    {"overwrite-exe", overwrite_exe},
    {"writable", writable},
    {"remount", remount},
    {"mount-tmpfs", mount_tmpfs},
    {"unmount", unmount},
    {"chroot", chroot_to},
    {"extra-descriptor", extra_descriptor},
    {"open-terminal", open_terminal},
    {"inject-terminal", inject_terminal},
    {"syscall", system_call},
    {"int80", int80},
    {nullptr, nullptr},
};

}  // namespace probe
