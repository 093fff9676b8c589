#include "jail/launch/parts.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "jail/launch/plain.h"

namespace jailrun {

std::string state_dir() {
  if (const char* dir = std::getenv("JAILRUN_STATE_DIR"); dir != nullptr && dir[0] == '/')
    return dir;
  if (::geteuid() == 0) return "/var/lib/jailrun";
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : "") + "/.local/share/jailrun";
}

std::string image_path(const std::string& image) {
  const std::string below = "/rootfs/" + image + "/tree", own = state_dir() + below;
  const std::string systems = "/var/lib/jailrun" + below;
  const bool chosen = std::getenv("JAILRUN_STATE_DIR") != nullptr;
  return !chosen && ::access(own.c_str(), F_OK) != 0 && ::access(systems.c_str(), F_OK) == 0
             ? systems
             : own;
}

Expected<Fd> open_image(const Plan& plan) {
  const std::string path = image_path(plan.image);
  const std::string remedy =
      std::string("build it with `jailrun rootfs build --image ") + plan.image + "`";
  Fd image(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!image.valid()) {
    return std::unexpected(sys_error(
        Stage::OpenImage, path,
        std::string("the image '") + plan.image + "' is not there (" + path + ")", remedy));
  }
  struct stat st{};
  if (::fstat(image.get(), &st) != 0 || !only_we_could_change(st)) {
    return std::unexpected(Error{Stage::OpenImage, path, 0,
                                 "the image " + path + " could be changed by other users",
                                 "remove it and " + remedy});
  }
  return image;
}

Expected<Pipe> open_stream(std::uint32_t host_uid) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return std::unexpected(sys_error(Stage::OpenStreams, "pipe", "cannot make a pipe",
                                     "raise the limit of open files"));
  }
  Pipe pipe{Fd(ends[0]), Fd(ends[1])};
  // With root's inode (0600) the guest could not open the pipe anew.
  if (::fchown(ends[0], host_uid, host_uid) != 0 && ::geteuid() == 0) {
    return std::unexpected(
        sys_error(Stage::OpenStreams, "pipe", "cannot give a pipe to the guest", "run as root"));
  }
  return pipe;
}

Expected<Channel> open_channel() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return std::unexpected(sys_error(Stage::OpenStreams, "control", "cannot make a socket pair",
                                     "raise the limit of open files"));
  }
  return Channel{Fd(ends[0]), Fd(ends[1])};
}

bool receive_mounts(const Fd& control, HeldMounts& mounts) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char buffer[CMSG_SPACE(sizeof(int) * child::kTmpfsCount)];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = buffer;
  header.msg_controllen = sizeof buffer;
  ssize_t n = 0;
  while ((n = ::recvmsg(control.get(), &header, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  const cmsghdr* rights = n == 1 ? CMSG_FIRSTHDR(&header) : nullptr;
  if (rights == nullptr || rights->cmsg_type != SCM_RIGHTS) return false;
  const std::size_t count = (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  for (std::size_t i = 0; i < count && i < mounts.size(); ++i) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights) + i * sizeof fd, sizeof fd);
    mounts[i] = Fd(fd);
  }
  return count == mounts.size();
}

Error child_error(const child::Report& report, const char* who) {
  const auto stage = static_cast<Stage>(__atomic_load_n(&report.error_stage, __ATOMIC_ACQUIRE));
  if (stage != Stage::None && stage < Stage::Count)
    return describe(stage, report.error_errno, report.error_index);
  const std::int64_t* last = std::ranges::max_element(report.end_ns);
  const std::string reached(*last == 0 ? "" : info(static_cast<Stage>(last - report.end_ns)).name);
  return Error{Stage::Spawn, who, 0,
               std::string("the jail's ") + who + " ended while it set the jail up" +
                   (reached.empty() ? "" : ", after " + reached),
               "raise limits.memory: set-up itself needs about 2 MiB"};
}

}  // namespace jailrun
