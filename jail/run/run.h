// One run: a Request against a fresh Jail, to a Result.
#pragma once

#include "jail/launch/jail.h"
#include "jail/run/result.h"
#include "jail/run/supervise.h"

namespace jailrun {

struct RunRequest {
  LaunchRequest launch;
  int stdin_source = -1;  // a descriptor to pass on to the guest; -1: its stdin is empty
  int forward_out = -1, forward_err = -1;  // -1: captured into the Result
  bool list_files = false;  // list what is left in /work even without an output directory
  int out_dir = -1;         // where it is copied to
  std::string out_name;     // its path, for messages
  int cancel = -1;          // a signalfd; readable means cancel
};

// Errors are ours alone; whatever the guest does is a Result. Either way nothing of the jail stays.
Expected<Result> run(const Plan& plan, RunRequest& request);

}  // namespace jailrun
