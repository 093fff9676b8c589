#include "tests/without/supervise.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace without {
namespace {

// Only these calls are notified: all others cost what they always do.
int install_filter(const std::vector<const Feature*>& features) {
  std::vector<sock_filter> code = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
  for (const Feature* feature : features) {
    code.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(feature->call), 0, 1));
    code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
  }
  code.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  return static_cast<int>(
      ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program));
}

void answer_one(int listener, const std::vector<const Feature*>& features) {
  seccomp_notif asked{};
  if (::ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) != 0) return;
  long answer = without::kGoOn;
  for (const Feature* feature : features) {
    if (feature->call != asked.data.nr || answer != without::kGoOn) continue;
    std::uint64_t args[6];
    std::memcpy(args, asked.data.args, sizeof args);
    answer = feature->answer({static_cast<pid_t>(asked.pid), args});
  }
  seccomp_notif_resp said{};
  said.id = asked.id;
  if (answer == without::kGoOn)
    said.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  else if (answer < 0)
    said.error = static_cast<int>(answer);
  else
    said.val = answer;
  (void)::ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &said);  // it may have been killed meanwhile
}

[[noreturn]] void supervise(int listener, const std::vector<const Feature*>& features) {
  for (;;) {
    pollfd entry{listener, POLLIN, 0};
    if (::poll(&entry, 1, -1) < 0 && errno != EINTR) ::_exit(1);
    if ((entry.revents & POLLIN) != 0) answer_one(listener, features);
    if ((entry.revents & (POLLHUP | POLLERR)) != 0) ::_exit(0);
  }
}

// Takes the listener from a socket; gives it where `fd` is one.
int pass(int socket, int fd) {
  char byte = 0;
  iovec part{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (fd < 0) {
    const bool came = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC) == 1;
    const cmsghdr* rights = came ? CMSG_FIRSTHDR(&message) : nullptr;
    if (rights != nullptr) std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    return fd;
  }
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

}  // namespace

int run_lacking(const std::vector<const Feature*>& features, char** argv) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return 255;
  const pid_t between = ::fork();
  if (between == 0) {
    if (::fork() != 0) ::_exit(0);
    ::setsid();
    ::dup2(ends[1], 0);
    ::syscall(SYS_close_range, 1, ~0U, 0);
    const int listener = pass(0, -1);
    if (listener < 0) ::_exit(1);
    supervise(listener, features);
  }
  ::waitpid(between, nullptr, 0);
  ::close(ends[1]);
  if (::geteuid() != 0) ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  const int listener = install_filter(features);
  if (listener < 0 || pass(ends[0], listener) != 0) {
    std::fprintf(stderr, "cannot install a filter: %s\n", strerrordesc_np(errno));
    return 255;
  }
  ::close(listener);
  ::close(ends[0]);
  ::execv(argv[0], argv);
  std::fprintf(stderr, "cannot execute %s: %s\n", argv[0], strerrordesc_np(errno));
  return 255;
}

}  // namespace without
