// Runs one program to its end: arguments as a vector (no shell), bounded output, always reaped.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "agent/base/cancel.h"

namespace jailrun::agent {

struct Command {
  std::vector<std::string> argv;         // argv[0] is the path of the program
  std::vector<std::string> environment;  // NAME=value; nothing else is passed on
  std::string input;                     // what it reads on stdin
  std::size_t stdout_limit_bytes = 1 << 20;
  std::size_t stderr_limit_bytes = 1 << 16;
  Deadline deadline = Deadline::max();
};

struct Finished {
  int wait_status = 0;  // as of waitpid(2)
  std::string out, err;
  bool stdout_over = false;  // the rest was thrown away
  bool stderr_over = false;
  bool late = false;  // the deadline passed and it was stopped
};

// A cancellation or the deadline sends SIGINT, so that the program can clean up, and SIGKILL after
// a grace of five seconds. A cancelled run is an Error with ECANCELED, given after the program
// ended.
Expected<Finished> run_command(const Command& command, const Cancel& cancel);

}  // namespace jailrun::agent
