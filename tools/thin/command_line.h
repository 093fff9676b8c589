// What the user asked `run` or `exec` for, from the table in tools/options.h.
#pragma once

#include <string>
#include <vector>

#include "jail/confine/inputs.h"
#include "jail/sys/error.h"

namespace jailrun {

// Where the jail comes from.
enum class Start : std::uint8_t { Either, Cold, Warm };

struct CommandLine {
  bool is_run = true;  // run SCRIPT, or exec CMD
  bool help = false;
  bool json = false, verbose = false;
  bool stored = false;  // a --file is store:ID, which jailrun-full opens
  Start start = Start::Either;
  std::string policy;
  std::vector<InputSource> files;
  std::vector<std::string> packages;
  std::vector<std::string> sets;  // PATH=VALUE
  std::string out;                // directory, or empty
  std::uint64_t timeout_ns = 0;   // 0: as the policy says
  std::vector<std::string> rest;  // the script or command, and its arguments
};

// argv[1] is "run" or "exec". Error: bad usage, with the remedy.
Expected<CommandLine> parse_command_line(int argc, char** argv);

}  // namespace jailrun
