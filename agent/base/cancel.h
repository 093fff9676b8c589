// Cancel: SIGINT and SIGTERM as a readable descriptor, polled wherever the agent waits.
#pragma once

#include <chrono>

#include "jail/sys/error.h"
#include "jail/sys/fd.h"

namespace jailrun::agent {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

// Milliseconds until `deadline`, for poll(2): at least 0, at most one minute.
int poll_ms(Deadline deadline);

class Cancel {
 public:
  Cancel() = default;  // never cancelled

  // Blocks both signals in the calling thread (do this before any other thread exists) and reads
  // them from a signalfd instead. What was seen stays seen: the descriptor is never drained.
  static Expected<Cancel> on_signals();

  int fd() const { return fd_.get(); }  // -1 where never cancelled; poll(2) ignores that
  bool requested() const;
  // Waits for `deadline` or a cancellation; true if cancelled.
  bool wait_until(Deadline deadline) const;

 private:
  Fd fd_;
};

// The Error of a cancelled step: errno_value is ECANCELED.
Error cancelled_error();
bool is_cancelled(const Error& error);

}  // namespace jailrun::agent
