// Refusals: why jaild does not do what a client asks. Their names are part of the protocol.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "jail/sys/error.h"

namespace jailrun {

struct Refusal {
  std::uint64_t request = 0;
  std::string name, message, remedy;
  std::string line() const { return message + " (" + name + "); " + remedy; }
};

// An Error of ours, told to a client.
inline Refusal refusal_from(std::string_view name, const Error& error) {
  const std::string text = error.errno_value == 0 ? "" : ": " + errno_name(error.errno_value);
  return {0, std::string(name), error.message + text, error.remedy};
}

namespace refusal {

inline constexpr std::string_view kQueueFull = "QueueFull", kDeadlineExceeded = "DeadlineExceeded",
                                  kUnknownPolicy = "UnknownPolicy", kBadPolicy = "BadPolicy",
                                  kPolicyNotWarm = "PolicyNotWarm",
                                  kNotOverridable = "NotOverridable", kNotLate = "NotLate",
                                  kNotNarrower = "NotNarrower", kBadValue = "BadValue",
                                  kNotPermitted = "NotPermitted", kTooManyLeases = "TooManyLeases",
                                  kTooManyOwners = "TooManyOwners",
                                  kTooManyConnections = "TooManyConnections", kBadFile = "BadFile",
                                  kFileNotMountable = "FileNotMountable",
                                  kPackageUnavailable = "PackageUnavailable",
                                  kWarmupFailed = "WarmupFailed", kBuildFailed = "BuildFailed",
                                  kNoSuchJail = "NoSuchJail", kNoSuchSession = "NoSuchSession",
                                  kSessionBusy = "SessionBusy",
                                  kTooManySessions = "TooManySessions",
                                  kShuttingDown = "ShuttingDown";

// Whether the same run, built cold with the caller's own rights, may well succeed. The others say
// that the host is busy: a cold run would make it worse.
constexpr bool cold_may_do(std::string_view name) {
  return name != kQueueFull && name != kDeadlineExceeded && name != kTooManyLeases &&
         name != kTooManyConnections;
}

}  // namespace refusal
}  // namespace jailrun
