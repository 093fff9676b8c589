// Warm jails, driven step by step and blocking: what a daemon does in an event loop.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "jail/pool/warm_jail.h"
#include "jail/run/frames.h"

namespace jailrun::test {

// A world whose zygote is ready; null where it cannot be had, which is then printed.
std::unique_ptr<World> start_world(const Plan& plan);

// A parked jail of it.
Expected<std::unique_ptr<WarmJail>> park(World& world, Stage fail_at = Stage::None);

struct WarmRun {
  std::string out, err;
  std::optional<AnswerFrame> answer;
  std::int64_t sent_ns = 0, answered_ns = 0, gone_ns = 0;  // CLOCK_MONOTONIC
  Result result;
};

// Gives it a script, waits for its end, settles.
WarmRun run_in(World& world, WarmJail& jail, const std::string& script,
               const std::string& input = {});

}  // namespace jailrun::test
