// Replay: the code of a capsule once more, in jails of today, and what is different now. No model
// is asked.
#pragma once

#include "agent/record/capsule.h"
#include "agent/record/redact.h"

namespace jailrun::agent {

struct Replayed {
  std::vector<std::string> circumstances;  // other than then: data, policy, image; may explain
  std::vector<std::string> differences;    // of what steps gave; none: the same again
  std::vector<Step> steps;
};

// Steps of a session run in a new one, with the states that were saved and brought back; others in
// a fresh jail each. Times and memory are not compared, and keys are
// as little in what is compared as in the capsule. Error: ours; a capsule without steps.
Expected<Replayed> replay(const nlohmann::json& capsule, const Redactor& redactor,
                          const JailOptions& jails, const std::vector<Input>& inputs,
                          const Cancel& cancel, Deadline deadline);

}  // namespace jailrun::agent
