// One attempt each: 0 if it succeeded, otherwise the errno of the refusal.
#pragma once

#include <cerrno>

namespace probe {

inline constexpr int kRefused = 250;  // without an errno to show

struct Probe {
  const char* name;
  int (*run)(char** arguments);  // null-terminated, all there may be
};

// What a system call returned, as a probe's outcome.
inline int outcome(long result) { return result < 0 ? errno : 0; }

extern const Probe kFileProbes[];  // each ended by a null name
extern const Probe kProcessProbes[];
extern const Probe kNetworkProbes[];
extern const Probe kBatteryProbes[];
extern const Probe kEntryProbes[];
extern const Probe kMachineProbes[];

// The probe called words[0], with the rest as its arguments.
int run_named(char** words);

}  // namespace probe
