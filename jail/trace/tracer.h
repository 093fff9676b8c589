// Tracer: which calls of a guest its filter refuses, and which it allows, seen from outside by
// ptrace(2).
//
// It only looks. The jail is the one that it always is, with the filter that the policy compiles
// to; the tracer reads a call's number and registers at its entry, before the kernel asks the
// filter, and the kernel's answer at its exit. It never writes a register, never reads the guest's
// memory, and takes no part in the decision, so a trace can neither widen the jail nor be raced by
// the guest. When the tracer dies, the kernel kills all that it follows (PTRACE_O_EXITKILL).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "jail/sys/error.h"
#include "jail/trace/judge.h"

namespace jailrun {

// A call that the filter refused. Of its arguments those that a rule looks at, the others 0.
struct RefusedCall {
  Call call;
  Answer answer;
  std::uint64_t times = 0;
};

// A rule of the policy that allows calls, and how many it allowed: 0 where the guest made none.
struct AllowedCalls {
  const FlatRule* rule = nullptr;  // of the Tracer's policy
  std::uint64_t times = 0;
};

// A call that the filter allowed and something else refused: file modes, the read-only image,
// Landlock, a capability that is not there.
struct RefusedElsewhere {
  int number = 0;
  int errno_value = 0;  // EACCES, EPERM or EROFS
  std::uint64_t times = 0;
};

struct Trace {
  std::vector<RefusedCall> refused;   // in order of their first times
  std::vector<AllowedCalls> allowed;  // all of the policy's rules that allow
  std::vector<RefusedElsewhere> elsewhere;
  std::uint64_t not_kept = 0;  // refused calls of yet other arguments, beyond kMostKinds
  // Refused calls that the kernel answered otherwise than the policy says. Not 0: a fault of ours.
  std::uint64_t answered_otherwise = 0;
};

// A guest may call with ever new arguments.
inline constexpr std::size_t kMostKinds = 512;

class Tracer {
 public:
  // `looked_at`: whose rules say which arguments count, besides `policy` itself.
  Tracer(std::shared_ptr<const Judge> policy, std::shared_ptr<const Judge> looked_at);
  Tracer(const Tracer&) = delete;
  Tracer& operator=(const Tracer&) = delete;
  ~Tracer();

  // Follows a guest that waits at its last gate, from its exec on, with all threads and children
  // that it will have; by a thread of its own, which waits for nothing but them. Once. Errors: the
  // host refuses ptrace.
  Expected<void> follow(pid_t guest);
  // After the last process of the jail is gone.
  Trace finish();

 private:
  struct Follower;
  std::shared_ptr<Follower> follower_;  // the thread's too: it may outlive a jail that hangs
  std::thread thread_;
};

}  // namespace jailrun
