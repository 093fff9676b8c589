// What a program can learn of the machine that it runs on, and of the sockets that it can reach.
#include <cpuid.h>
#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <ctime>
#include <string>

#include "tests/guests/probe.h"

namespace probe {
namespace {

void tell(const char* what, const std::string& value) {
  if (!value.empty()) std::printf("%s=%s\n", what, value.c_str());
}

std::string first_line(const char* path) {
  char line[256] = {};
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  const ssize_t n = fd < 0 ? -1 : ::read(fd, line, sizeof line - 1);
  ::close(fd);
  std::string text(line, n > 0 ? static_cast<std::size_t>(n) : 0);
  return text.substr(0, text.find('\n'));
}

std::string brand() {
  unsigned words[12] = {};
  for (unsigned leaf = 0; leaf < 3; ++leaf)
    __get_cpuid(0x80000002 + leaf, words + 4 * leaf, words + 4 * leaf + 1, words + 4 * leaf + 2,
                words + 4 * leaf + 3);
  return std::string(reinterpret_cast<const char*>(words),
                     ::strnlen(reinterpret_cast<const char*>(words), sizeof words));
}

std::string hardware_address() {
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM, 0);
  std::string text;
  for (int index = 1; index < 64; ++index) {
    ifreq request{};
    request.ifr_ifindex = index;
    if (::ioctl(fd, SIOCGIFNAME, &request) != 0 || ::ioctl(fd, SIOCGIFHWADDR, &request) != 0)
      continue;
    for (int i = 0; i < 6; ++i)
      text += std::to_string(static_cast<int>(request.ifr_hwaddr.sa_data[i]));
    if (text == "000000") text.clear();
  }
  ::close(fd);
  return text;
}

// One fact a line, NAME=VALUE; what cannot be had is not there. What changes from moment to moment
// is told by something of the same source that does not.
int machine(char** a) {
  struct utsname name{};
  ::uname(&name);
  tell("kernel", std::string(name.release) + name.version);
  tell("host name", name.nodename);
  struct sysinfo info{};
  if (::sysinfo(&info) == 0) tell("sysinfo", std::to_string(info.totalram * info.mem_unit));
  timespec up{};
  if (::clock_gettime(CLOCK_BOOTTIME, &up) == 0) {
    // The day of the boot, counted from some second past midnight: rounding moves it on no host.
    tell("boot time", std::to_string((std::time(nullptr) - up.tv_sec + 12'345) / 86'400));
  }
  tell("processor", brand());
  struct statvfs disk{};
  if (::statvfs(a[0], &disk) == 0)
    tell("disk", std::to_string(disk.f_blocks) + " " + std::to_string(disk.f_fsid));
  struct stat st{};
  if (::stat(a[0], &st) == 0)
    tell("image file", std::to_string(st.st_dev) + " " + std::to_string(st.st_ino));
  tell("boot id", first_line("/proc/sys/kernel/random/boot_id"));
  tell("machine id", first_line("/etc/machine-id"));
  tell("load", first_line("/proc/loadavg").empty() ? "" : "readable");
  tell("memory statistics", first_line("/proc/meminfo").empty() ? "" : "readable");
  tell("processor statistics", first_line("/proc/stat").empty() ? "" : "readable");
  tell("pressure", first_line("/proc/pressure/cpu").empty() ? "" : "readable");
  tell("interrupts", first_line("/proc/interrupts").empty() ? "" : "readable");
  tell("kernel command line", first_line("/proc/cmdline"));
  tell("modules", first_line("/proc/modules").empty() ? "" : "readable");
  tell("hardware address", hardware_address());
  tell("firmware", first_line("/sys/class/dmi/id/product_name"));
  return 0;
}

void list_sockets(const std::string& path) {
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) return;
  while (const dirent* entry = ::readdir(dir)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string below = (path == "/" ? "" : path) + "/" + name;
    struct stat st{};
    if (::lstat(below.c_str(), &st) != 0) continue;
    if (S_ISSOCK(st.st_mode)) std::printf("%s\n", below.c_str());
    if (S_ISDIR(st.st_mode) && below != "/proc") list_sockets(below);
  }
  ::closedir(dir);
}

// Prints every socket below DIRECTORY, and each of the further arguments that can be connected to.
int sockets(char** a) {
  list_sockets(a[0]);
  for (char** path = a + 1; *path != nullptr; ++path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, *path, sizeof address.sun_path - 1);
    for (const int type : {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET}) {
      const int fd = ::socket(AF_UNIX, type, 0);
      if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
        std::printf("connected to %s\n", *path);
      ::close(fd);
    }
  }
  return 0;
}

}  // namespace

const Probe kMachineProbes[] = {
    {"machine", machine},
    {"sockets", sockets},
    {nullptr, nullptr},
};

}  // namespace probe
