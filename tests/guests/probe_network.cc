// Ways to other machines and other jails.
#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/guests/probe.h"

namespace probe {
namespace {

int open_socket(char** a) { return outcome(::socket(std::atoi(a[0]), std::atoi(a[1]), 0)); }

int connect_tcp(char** a) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0) return errno;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<unsigned short>(std::atoi(a[1])));
  ::inet_pton(AF_INET, a[0], &address.sin_addr);
  return outcome(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address));
}

socklen_t abstract(const char* name, sockaddr_un& address) {
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path + 1, name, sizeof address.sun_path - 2);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + std::strlen(name));
}

int connect_abstract(char** a) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return errno;
  sockaddr_un address{};
  const socklen_t length = abstract(a[0], address);
  return outcome(::connect(fd, reinterpret_cast<const sockaddr*>(&address), length));
}

// Listens on an abstract name, says "ready", and exits 0 once somebody has come, 110 after a line
// on stdin.
int listen_abstract(char** a) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return errno;
  sockaddr_un address{};
  const socklen_t length = abstract(a[0], address);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), length) != 0 ||
      ::listen(fd, 1024) != 0)
    return errno;
  std::printf("ready\n");
  std::fflush(stdout);
  char byte;
  while (::read(0, &byte, 1) == 1 && byte != '\n') {
  }
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
  return ::accept(fd, nullptr, nullptr) >= 0 ? 0 : ETIMEDOUT;
}

// Within one program: binds and connects to itself.
int meet_itself(char** a) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  if (fd < 0) return errno;
  sockaddr_un address{};
  const socklen_t length = abstract(a[0], address);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), length) != 0 || ::listen(fd, 4) != 0)
    return errno;
  return connect_abstract(a);
}

int interface_up(char**) {
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM, 0);
  if (fd < 0) return errno;
  for (int index = 1; index < 64; ++index) {
    ifreq request{};
    request.ifr_ifindex = index;
    if (::ioctl(fd, SIOCGIFNAME, &request) != 0) continue;
    if (::ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP) != 0) return 0;
  }
  return ENODEV;
}

int shared_memory(char** a) {
  return outcome(::shmget(static_cast<key_t>(std::atol(a[0])), 4096, 0));
}

// Makes data out of band wait on a socket pair (CVE-2025-38236).
int out_of_band(char**) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return errno;
  return outcome(::send(ends[0], "x", 1, MSG_OOB));
}

}  // namespace

const Probe kNetworkProbes[] = {
    {"socket", open_socket},
    {"connect-tcp", connect_tcp},
    {"connect-abstract", connect_abstract},
    {"listen-abstract", listen_abstract},
    {"meet-itself", meet_itself},
    {"interface-up", interface_up},
    {"shared-memory", shared_memory},
    {"out-of-band", out_of_band},
    {nullptr, nullptr},
};

}  // namespace probe
