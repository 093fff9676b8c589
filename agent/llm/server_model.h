// A model behind an HTTP server, in whichever protocol.
#pragma once

#include <memory>

#include "agent/llm/settings.h"

namespace jailrun::agent {

std::unique_ptr<LanguageModel> make_server_model(ModelSettings settings, const Cancel& cancel);

}  // namespace jailrun::agent
