// The warm way of `run`: a jail that jaild has ready, leased for this one script.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "jail/daemon/client.h"
#include "jail/run/frames.h"
#include "jail/run/run.h"
#include "tools/thin/command_line.h"

namespace jailrun {

struct WarmRun {
  Result result;
  std::optional<AnswerFrame> answer;  // the guest's own word, for --verbose
  std::int64_t request_ns = 0;        // CLOCK_MONOTONIC just before the lease was asked for
  std::uint64_t queued_ns = 0;        // in jaild, until there was a jail
};

// Why this run cannot be warm.
struct NotWarm {
  std::string why, remedy;
  bool cold_may_do = true;  // false: the host is busy, a cold run would make that worse
};

// A connection to jaild, where this run may use it.
std::variant<Client, NotWarm> reach_jaild(const CommandLine& line);

// Nothing of the guest has run where it gives NotWarm. Errors: an input cannot be read, jaild died
// meanwhile, what is left in /work cannot be written.
Expected<std::variant<WarmRun, NotWarm>> run_warm(Client& client, const CommandLine& line,
                                                  const RunRequest& request);

}  // namespace jailrun
