// The loop: ask, run what is asked for, feed back, until there is an answer or a bound is met.
#pragma once

#include "agent/tools.h"

namespace jailrun::agent {

struct Bounds {
  std::size_t steps = 8;           // runs in a jail
  std::size_t turns = 16;          // replies of the provider
  std::uint64_t tokens = 400'000;  // prompts and completions together
  Deadline deadline = Deadline::max();
};

struct Outcome {
  bool answered = false;
  std::string answer;  // or why there is none
  std::vector<Step> steps;
  std::uint64_t tokens = 0;
  std::size_t turns = 0;
};

// Answers conversation.question about conversation.tables. Error: ours (a provider that cannot be
// reached, no jail, cancelled); a question that nobody could answer is an Outcome.
Expected<Outcome> answer(Provider& provider, Conversation conversation, const JailClient& client,
                         Workspace& workspace, const Bounds& bounds,
                         const std::function<void(const std::string&)>& progress);

}  // namespace jailrun::agent
