// The kernel features that `older_kernel` takes away: by the names of DESIGN.md's kernel table.
#pragma once

#include <sys/syscall.h>
#include <sys/types.h>

#include <cstdint>

namespace without {

// A system call of the program that runs without the feature, seen from its supervisor.
struct Call {
  pid_t pid;
  const std::uint64_t* args;
};

// What a kernel that lacks the feature answers: a value, -errno, or kGoOn where the call has
// nothing to do with it.
inline constexpr long kGoOn = 1L << 32;

struct Feature {
  const char* name;
  long call;
  long (*answer)(const Call&);
};

extern const Feature kFeatures[];  // ends with a null name

}  // namespace without
