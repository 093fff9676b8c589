// The model that is none: it translates the question itself, or says that it cannot.
#pragma once

#include <memory>

#include "agent/data/data.h"
#include "agent/llm/model.h"

namespace jailrun::agent::offline {

// Answers `question` about `tables`, whatever else is said in the conversation. `as_of`: as
// read_question.
std::unique_ptr<LanguageModel> make_model(std::string question, std::vector<DataTable> tables,
                                          std::string as_of = {});

}  // namespace jailrun::agent::offline
