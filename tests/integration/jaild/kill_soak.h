// jaild killed with -9 at random instants while clients execute: what its clients hear, and what
// is left.
#pragma once

#include <cstdint>
#include <string>

#include "tests/integration/jaild/daemon.h"

namespace jailrun::test {

struct KillOptions {
  int rounds = 20;
  unsigned seed = 1;
  int clients = 4;
  std::string programs = JAILRUN_BIN_DIR;  // where the daemon's lie
  bool talkative = false;                  // a line for each fifty rounds, on stderr
};

struct KillReport {
  std::uint64_t answered = 0;     // executions with the right answer
  std::uint64_t interrupted = 0;  // told to their client as such
  std::uint64_t wrong = 0, hung = 0;
  double slowest_word_s = 0;  // from the kill until the last client had heard of it
  double slowest_end_s = 0;   // until the last process was gone
  std::string left;           // groups, processes, mounts that stayed; a line each
  std::string faults;         // what was wrong, a line each
};

// The daemon serves when it returns.
KillReport kill_at_random(Daemon& daemon, const KillOptions& options);

}  // namespace jailrun::test
