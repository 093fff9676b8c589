#include "agent/base/cancel.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

namespace jailrun::agent {

int poll_ms(Deadline deadline) {
  auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
  return static_cast<int>(std::clamp<long long>(left, 0, 60'000));
}

Expected<Cancel> Cancel::on_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  Cancel cancel;
  cancel.fd_ = Fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!cancel.fd_.valid())
    return std::unexpected(sys_error(Stage::None, "signalfd", "cannot watch for signals",
                                     "raise the limit of open files (ulimit -n)"));
  return cancel;
}

Cancel Cancel::on_descriptor(int fd) {
  Cancel cancel;
  cancel.watched_ = fd;
  return cancel;
}

void Cancel::clear() const {
  signalfd_siginfo seen{};
  while (fd_.valid() && ::read(fd_.get(), &seen, sizeof seen) > 0) {
  }
}

bool Cancel::requested() const {
  pollfd one{fd(), POLLIN, 0};
  return poll(&one, 1, 0) > 0;
}

bool Cancel::wait_until(Deadline deadline) const {
  pollfd one{fd(), POLLIN, 0};
  while (true) {
    if (poll(&one, 1, poll_ms(deadline)) > 0) return true;
    if (Clock::now() >= deadline) return false;
  }
}

Error cancelled_error() {
  return Error{Stage::None, "the question", ECANCELED, "cancelled", "ask again to start over"};
}

bool is_cancelled(const Error& error) { return error.errno_value == ECANCELED; }

}  // namespace jailrun::agent
