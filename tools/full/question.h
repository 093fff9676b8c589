// What `jailrun ask` and `jailrun chat` have in common: the options, the data, the record.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agent/agents/inquiry.h"
#include "agent/record/record.h"
#include "tools/log_options.h"

namespace jailrun::full {

struct QuestionOptions {
  std::vector<std::string> files, sets, tools;
  std::string dataset, out, policy, timeout, within = "10m", thread;
  agent::ModelChoice model;
  std::size_t steps = 8, attempts = 1;
  std::uint64_t tokens = 400'000;
  double cost_usd = 0;
  bool verbose = false, fresh = false, no_record = false;
  LogOptions log;
};

void add_question_options(CLI::App& verb, QuestionOptions& options);

Error usage_error(std::string message, std::string remedy);

// The log as `options` have it, without keys. On stderr where its level or format was named, or by
// --verbose, which means debug.
Expected<void> begin_log(const std::string& verb, const QuestionOptions& options);
// Whether its lines are on stderr.
bool log_is_shown(const QuestionOptions& options);
void log_question(const std::string& question, const agent::Circumstances& around,
                  const agent::ModelSettings& model);
void log_step(std::size_t number, const agent::Step& step);
void log_answer(const agent::Answered& answered);

// The files of a question, opened where they come from the store.
struct QuestionData {
  std::vector<agent::Input> inputs;
  std::string dataset_id, dataset_hash, about, as_of;
  std::vector<Fd> held;  // of stored files: `inputs` name them by descriptor
};
Expected<QuestionData> gather(const std::vector<std::string>& files, const std::string& dataset);

Expected<agent::ModelSettings> choose_model(const QuestionOptions& options);
Expected<agent::JailOptions> jails_of(const QuestionOptions& options);
// Of `question`, which may be one that runs under a policy of its own (direct.h).
Expected<agent::Circumstances> circumstances_of(const std::string& question,
                                                const agent::JailOptions& jails,
                                                const QuestionData& data,
                                                const agent::Cancel& cancel);
// What one question may use, from now on.
Expected<agent::Bounds> bounds_of(const QuestionOptions& options);

// The record, or what stands in its way, said on stderr: a question is answered without it.
class Recording {
 public:
  explicit Recording(bool wanted);
  explicit operator bool() const { return record_.has_value(); }
  agent::Record& record() { return *record_; }
  const agent::Redactor& redactor() const { return redactor_; }
  static std::string owner();

  // Empty where nothing is recorded.
  std::string begin(const std::string& question, const std::string& thread,
                    const agent::Circumstances& around, const std::string& model);
  void end(const std::string& run_id, const agent::Captured& captured);

 private:
  void give_up(const Error& error);
  std::optional<agent::Record> record_;
  agent::Redactor redactor_;
};

}  // namespace jailrun::full
