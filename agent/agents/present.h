// An outcome as a person reads it, and as a program does. Both return text; nothing is printed
// here.
#pragma once

#include <string>

#include "agent/agents/agent.h"
#include "agent/tools/bench.h"

namespace jailrun::agent {

struct Asked {
  std::string question, provider, model;  // model is empty where none was asked
  std::vector<DataTable> tables;
  std::vector<std::string> notes;
  std::vector<Step> steps{};
  std::uint64_t wall_ns = 0;
  std::string run_id{}, thread_id{};  // in the record; empty: it was not recorded
};

// Answer, tables, paths of files, the code that computed them, and how it ran. Without the answer
// where its reader has seen it come.
std::string as_text(const Asked& asked, const Outcome& outcome, bool with_answer = true);

// One JSON object on one line: question, provider, model, answered, answer, runs, files, data,
// usage, run_id, thread_id.
std::string as_json(const Asked& asked, const Outcome& outcome);
std::string as_json(const Error& error);

}  // namespace jailrun::agent
