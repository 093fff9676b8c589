// What a run that did not end well looks like to whoever wrote the code, and what they should try.
#pragma once

#include <string>

#include "agent/jails/jail_client.h"

namespace jailrun::agent {

// What to try, by verdict and by the last line of stderr; one sentence. `lasting`: variables stay
// from run to run.
std::string advice(const JailResult& result, bool lasting = false);

// What a model gets back from a run: its output, or verdict, reason, tail of stderr and advice.
std::string feedback(const JailResult& result, bool lasting = false);

}  // namespace jailrun::agent
