// The options of `run` and `exec`, once: the thin binary parses by this table (getopt_long),
// jailrun-full makes its help and its shell completion from it. Constants only: the thin binary
// starts in microseconds.
#pragma once

#include <getopt.h>

#include <array>
#include <cstddef>
#include <iterator>

namespace jailrun {

// Bits of OptionInfo::verbs.
inline constexpr unsigned kRunVerb = 1, kExecVerb = 2;

// What getopt_long returns for it: the letter, or a number above all letters where there is none.
enum class Option : int {
  File = 'f',
  Help = 'h',
  Out = 'o',
  Policy = 'p',
  Set = 's',
  Timeout = 't',
  Verbose = 'v',
  Cold = 256,
  Json,
  Package,
  Warm,
};

struct OptionInfo {
  Option id;
  const char* name;      // long, without dashes
  const char* argument;  // what its argument is called in help and completion; null: it takes none
  bool repeatable;       // otherwise the last one counts
  unsigned verbs;
  const char* help;

  constexpr char letter() const {
    return static_cast<int>(id) < 256 ? static_cast<char>(id) : '\0';
  }
};

inline constexpr unsigned kBothVerbs = kRunVerb | kExecVerb;

inline constexpr OptionInfo kOptions[] = {
    {Option::Policy, "policy", "POLICY", false, kBothVerbs,
     "what the guest may do: a policy's name, or a path with a '/' "
     "(default: python for run, exec for exec)"},
    {Option::File, "file", "SRC[:NAME]", true, kBothVerbs,
     "show the file SRC to the guest, read-only, as /data/NAME (default: its own name); "
     "a large one is mounted, not copied; store:ID[:NAME] is one of `jailrun files`"},
    {Option::Package, "package", "NAME", true, kBothVerbs,
     "put an approved package on Python's path, read-only: `jailrun packages ls` shows which"},
    {Option::Out, "out", "DIR", false, kBothVerbs,
     "put what the guest leaves in /work into DIR, made where missing; "
     "without it those files are only counted"},
    {Option::Set, "set", "PATH=VALUE", true, kBothVerbs,
     "set one field of the policy: limits.memory=256MiB, network.mode=LOOPBACK, "
     "environment.NAME=text"},
    {Option::Timeout, "timeout", "DURATION", false, kBothVerbs,
     "short for --set limits.wall=DURATION: 500ms, 10s, 5m"},
    {Option::Cold, "cold", nullptr, false, kBothVerbs,
     "build the jail here and now, ask no daemon for one that is ready"},
    {Option::Warm, "warm", nullptr, false, kBothVerbs,
     "take a jail that jaild has ready, or fail with the reason (default: take one if there is "
     "one)"},
    {Option::Json, "json", nullptr, false, kBothVerbs,
     "print one Result as JSON instead of the guest's output (jail/run/result.schema.json)"},
    {Option::Verbose, "verbose", nullptr, false, kBothVerbs,
     "afterwards print on stderr what the run used, and the time of each stage"},
    {Option::Help, "help", nullptr, false, kBothVerbs, "print this and exit"},
};

inline constexpr std::size_t kOptionCount = std::size(kOptions);

// For getopt_long(3).
inline constexpr auto kLongOptions = [] {
  std::array<::option, kOptionCount + 1> table{};
  for (std::size_t i = 0; i < kOptionCount; ++i)
    table[i] = {kOptions[i].name, kOptions[i].argument ? required_argument : no_argument, nullptr,
                static_cast<int>(kOptions[i].id)};
  return table;
}();

// "+:" first: options end at the script or command, whose own they are from there on, and a missing
// argument is told apart from an unknown option.
inline constexpr auto kShortOptions = [] {
  std::array<char, 2 * kOptionCount + 3> text{'+', ':'};
  std::size_t at = 2;
  for (const OptionInfo& option : kOptions) {
    if (option.letter() == '\0') continue;
    text[at++] = option.letter();
    if (option.argument) text[at++] = ':';
  }
  return text;
}();

// Exit statuses of `run` and `exec`. Tests compare each with a run that earns it.
inline constexpr int kStatusTimeout = 124, kStatusOurs = 125, kStatusNotExecutable = 126,
                     kStatusNotFound = 127, kStatusCancelled = 130, kStatusOutOfMemory = 137,
                     kStatusOutput = 153, kStatusViolation = 159;

struct ExitStatus {
  const char* status;
  const char* verdict;  // of Result; "" where there is none
  const char* meaning;
};

inline constexpr ExitStatus kExitStatuses[] = {
    {"0", "ok", "the guest exited 0"},
    {"1 to 123", "nonzero_exit", "the guest's own exit status"},
    {"124", "wall_timeout, cpu_timeout", "limits.wall or limits.cpu_time was reached"},
    {"125", "", "our own failure, bad usage included; nothing is known of the guest"},
    {"126", "", "the command exists in the image but cannot be executed"},
    {"127", "", "the command does not exist in the image"},
    {"128+N", "signalled", "the guest died by signal N"},
    {"130", "cancelled", "Ctrl-C, SIGTERM, or nobody reads the output any more"},
    {"137", "out_of_memory", "limits.memory was reached; the whole jail died"},
    {"153", "output_limit, disk_limit", "limits.output, or a full /work, /tmp or /dev/shm"},
    {"159", "policy_violation", "a system call on the red list was made"},
    {"the guest's", "pids_limit", "it exited non-zero after limits.pids had refused it a process"},
};

}  // namespace jailrun
