// Supervision: from the guest's first instruction to its end, by one poll(2).
#pragma once

#include <cstdint>
#include <string>

#include "jail/launch/jail.h"
#include "jail/run/judge.h"

namespace jailrun {

// One of the guest's output streams and where it goes: captured, or passed on to a descriptor of
// ours.
struct OutputStream {
  explicit OutputStream(const char* stream) : name(stream) {}
  const char* name;        // "stdout"
  int forward = -1;        // -1: capture
  std::string captured;    // or, when forwarding, what waits to be passed on
  std::uint64_t seen = 0;  // bytes
  bool truncated = false;
};

struct Supervision {
  OutputStream out{"stdout"}, err{"stderr"};
  int stdin_source = -1;  // passed on to the guest; -1: none
  int cancel = -1;        // readable: the caller wants the run to end (a signalfd)
};

// Watches output, deadlines and limits; kills the jail when one is hit. On return every process of
// the jail is gone and reaped. Fills what it saw into `evidence`.
Expected<void> supervise(const Plan& plan, Jail& jail, Supervision& supervision,
                         Evidence& evidence);

}  // namespace jailrun
