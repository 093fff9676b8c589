// Runs a program to its end and keeps what it said.
#pragma once

#include <string>
#include <vector>

namespace jailrun::test {

struct Command {
  std::vector<std::string> argv{};
  std::string input{};                     // written to its stdin, which is then closed
  std::vector<std::string> environment{};  // NAME=VALUE, added to this process's own
  std::string directory{};                 // where it starts; empty: here
  int kill_after_ms = 0;                   // sends `kill_signal` then; 0: never
  int kill_signal = 2;
};

struct Outcome {
  int status = -1;  // exit status, or 128 + the signal it died by
  std::string out, err;
};

Outcome run_command(const Command& command);

// The program under test, as built with these tests.
std::string jailrun_program();

}  // namespace jailrun::test
