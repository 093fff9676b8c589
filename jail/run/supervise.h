// Supervision: from the guest's first instruction to its end, by one poll(2).
#pragma once

#include "jail/launch/jail.h"
#include "jail/run/judge.h"
#include "jail/run/streams.h"

namespace jailrun {

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
