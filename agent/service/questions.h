// A question of a request: its data found, asked, recorded. What the client may know of it is in
// README.md.
#pragma once

#include "agent/record/record.h"
#include "agent/service/service.h"

namespace jailrun::service {

// Where the jails and files of questions come from.
struct QuestionPlace {
  const ServiceOptions& options;
  std::string owner;  // of the request
};

// The fields `dataset_id`, `files` and `user_id` of a body, or what a thread had; files of the
// store are held open for as long as this lives.
struct QuestionData {
  std::vector<agent::Input> inputs;
  std::vector<agent::DataTable> tables;  // of a data set, as its registry has them
  std::string dataset_id, dataset_hash, about, as_of;
  std::vector<Fd> held;
};
// Errors bear their status: 400 none named, 404.
Expected<QuestionData> find_data(const QuestionPlace& place, const Json& body,
                                 const agent::ThreadRow* thread);

Expected<agent::Record> open_record(const ServiceOptions& options);
// What users write themselves runs under its own policy (direct.h), not under the one of models.
agent::JailOptions jails_for(const ServiceOptions& options, const std::string& jailrun,
                             bool direct);
// MAX_ROWS, MAX_OUTPUT_BYTES and ENABLE_PYTHON_EXECUTION of the environment.
agent::DirectLimits direct_limits();

// A directory for one request's files, gone with it.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string out() const { return path_ + "/out"; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// One question to a model, from its data to its capsule.
class Question {
 public:
  // `send`: hears events; may be empty. `gone`: readable once nobody waits any more.
  Question(const ServiceOptions& options, std::string owner, std::string request_id, SendEvent send,
           int gone);

  // Errors bear the status that they stand for; before the run is begun nothing is recorded.
  Expected<Json> ask(const Json& body);
  // A file of the request itself, as `jailrun ask --json` tells it.
  Expected<Json> analyze(agent::Input input, const std::string& question);
  // As it is recorded; null before.
  const nlohmann::json& capsule() const { return capsule_; }

 private:
  Expected<agent::Answered> answer(const std::string& message, QuestionData& data,
                                   const std::vector<agent::Message>& past,
                                   const agent::ModelSettings& model);
  Expected<agent::Answered> recorded(const std::string& message, QuestionData& data,
                                     const agent::ThreadRow* thread);
  agent::Watcher watcher();
  void tell(const char* event, const Json& data);
  void stage(const char* name, const std::string& message = {});
  void step_ended(std::size_t number, const agent::Step& step);

  const ServiceOptions& options_;
  const std::string owner_, request_id_;
  SendEvent send_;
  agent::Cancel cancel_;
  Scratch scratch_;
  std::optional<agent::Record> record_;
  std::string run_id_, stage_;
  std::size_t step_ = 0, told_[2] = {};  // of stdout and stderr of the step
  nlohmann::json capsule_;
};

// The reply of /chat, of a capsule.
Json chat_view(const nlohmann::json& capsule);
Json result_view(const nlohmann::json& capsule);
Json details_view(const nlohmann::json& capsule);
std::string file_url(const std::string& run_id, std::size_t step, const std::string& name);

}  // namespace jailrun::service
