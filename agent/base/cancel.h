// Cancel: SIGINT and SIGTERM, or whatever else, as a readable descriptor, polled wherever the agent
// waits.
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
  // Cancelled once `fd` is readable, which must outlive it; -1: never.
  static Cancel on_descriptor(int fd);

  int fd() const {
    return fd_.valid() ? fd_.get() : watched_;
  }  // -1 where never cancelled; poll(2) ignores that
  bool requested() const;
  // Forgets the signals that came: what follows is something new.
  void clear() const;
  // Waits for `deadline` or a cancellation; true if cancelled.
  bool wait_until(Deadline deadline) const;

 private:
  Fd fd_;
  int watched_ = -1;
};

// The Error of a cancelled step: errno_value is ECANCELED.
Error cancelled_error();
bool is_cancelled(const Error& error);

}  // namespace jailrun::agent
