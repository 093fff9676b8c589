// Transcripts: every exchange with a model, one JSON object a line, to be read and to be replayed.
// They hold what was said, and so the data; they hold no key.
#pragma once

#include <memory>

#include "agent/llm/settings.h"

namespace jailrun::agent {

// Protocol-neutral, for comparing.
nlohmann::json request_json(const ModelRequest& request);
nlohmann::json reply_json(const ModelReply& reply);
ModelReply read_reply(const nlohmann::json& from);

// Writes each exchange to `file`, which must not be there yet, as it ends.
Expected<std::unique_ptr<LanguageModel>> make_recording_model(std::unique_ptr<LanguageModel> inner,
                                                              const ModelSettings& settings);

// Replays a transcript exactly. A request that is not the recorded one is an Error that names the
// first difference; so is a request too many, and, in finish(), one too few.
Expected<std::unique_ptr<LanguageModel>> make_recorded_model(const std::string& file);

}  // namespace jailrun::agent
