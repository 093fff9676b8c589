// Record: capsules and threads, in SQLite. Whoever may read the file is its user; owners tell users
// of a service apart. Every text passes the Redactor before it is written.
//
// A run is begun (status "running") and ended, each in one transaction that is on the disk when it
// returns: whatever kills the writer, the file is whole, and a run that nobody writes any more
// reads as "interrupted".
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/record/capsule.h"
#include "agent/record/redact.h"
#include "agent/store/database.h"

namespace jailrun::agent {

// Messages of a thread that a model is told: THREAD_HISTORY_WINDOW of the environment, 2 to 200,
// or 12.
std::size_t history_window();

struct RunHead {
  std::string owner, thread_id, question, dataset_id{}, model{}, query_mode = "chat";
};

struct RunRow {
  std::string run_id, thread_id, status, question, answer, dataset_id, model;
  std::int64_t created_ms = 0, exec_ms = 0;
  std::size_t steps = 0;
};

struct ThreadRow {
  std::string thread_id, title, dataset_id;
  std::int64_t created_ms = 0, updated_ms = 0;
  std::size_t messages = 0;
  nlohmann::json data;  // its files, as its last question named them
};

struct ThreadMessage {
  std::int64_t id = 0, created_ms = 0;
  std::string role, content, run_id, dataset_id;
  nlohmann::json metadata;
};

class Record {
 public:
  // $CAPSULE_DB_PATH; else /var/lib/jailrun/record.db for root, $XDG_DATA_HOME/jailrun/record.db
  // for others. Error: no home.
  static Expected<std::string> default_path();
  // Makes the file, for its owner alone. Refuses one that others may write.
  static Expected<Record> open(const std::string& path, Redactor redactor);

  // The id of the new run.
  Expected<std::string> begin(const RunHead& head);
  // With the capsule, its files, and both messages where the run belongs to a thread.
  Expected<void> end(const std::string& owner, const std::string& run_id, Captured captured);

  // Newest first.
  Expected<std::vector<RunRow>> runs(const std::string& owner, std::size_t limit,
                                     const std::string& thread_id = {});
  // With run_id, thread_id, status and created_at in it; nothing for what the owner has not.
  Expected<std::optional<nlohmann::json>> capsule(const std::string& owner,
                                                  const std::string& run_id);
  Expected<std::optional<std::string>> status(const std::string& owner, const std::string& run_id);
  Expected<std::optional<KeptFile>> file(const std::string& owner, const std::string& run_id,
                                         std::size_t step, const std::string& name);
  // What was kept of the run's files.
  Expected<std::vector<KeptFile>> files(const std::string& owner, const std::string& run_id);
  // Nothing of it stays in the file. False: the owner has no such run.
  Expected<bool> remove(const std::string& owner, const std::string& run_id);
  // All runs and threads of the owner; how many runs.
  Expected<std::size_t> remove_all(const std::string& owner);

  // The thread of this id, made where there is none; an empty id: a new one.
  Expected<ThreadRow> thread(const std::string& owner, const std::string& id);
  Expected<std::optional<ThreadRow>> find_thread(const std::string& owner, const std::string& id);
  Expected<void> set_data(const std::string& owner, const std::string& thread_id,
                          const nlohmann::json& data, const std::string& dataset_id);
  Expected<std::vector<ThreadRow>> threads(const std::string& owner, std::size_t limit);
  // The latest `limit`, oldest first.
  Expected<std::vector<ThreadMessage>> messages(const std::string& owner,
                                                const std::string& thread_id, std::size_t limit);
  // The last history_window() of them as a model is told them, beginning with a question.
  Expected<std::vector<Message>> history(const std::string& owner, const std::string& thread_id);
  // What was said in a run is said no more in its thread; the run stays.
  Expected<void> unsay(const std::string& owner, const std::string& run_id);
  // With its runs. False: there is none.
  Expected<bool> remove_thread(const std::string& owner, const std::string& thread_id);

  const Redactor& redactor() const { return redactor_; }

 private:
  Record(store::Database database, Redactor redactor)
      : database_(std::move(database)), redactor_(std::move(redactor)) {}
  Expected<void> insert_files(const std::string& run_id, const std::vector<KeptFile>& files);
  Expected<void> insert_message(const RunHead& head, const std::string& run_id,
                                const std::string& role, const std::string& content,
                                const nlohmann::json& metadata);
  // Runs a deletion, and what it deletes is on the disk no more.
  Expected<std::size_t> erase(const char* sql, const std::string& owner, const std::string& id);

  store::Database database_;
  Redactor redactor_;
};

std::string new_record_id();
// What a thread or a run may be called from outside: 1 to 128 of [A-Za-z0-9._:-].
bool is_plain_id(const std::string& id);

}  // namespace jailrun::agent
