// What a user wrote himself, without a model: SQL, Python or a query plan, run over data in one
// fresh jail.
#pragma once

#include <optional>

#include "agent/agents/agent.h"
#include "agent/tools/bench.h"

namespace jailrun::agent {

enum class DirectMode { Sql, Python, Plan };

struct DirectMessage {
  DirectMode mode = DirectMode::Sql;
  std::string text;  // SQL, Python, or the plan as JSON
};

// "SQL: select 1" and "python: print(1)", in upper or lower case; nothing for other messages.
std::optional<DirectMessage> direct_message(std::string_view message);

struct DirectResult {
  std::string status;             // succeeded, failed, rejected
  std::string error_type, error;  // of DESIGN.md's vocabulary; empty where it succeeded
  std::vector<std::string> columns;
  nlohmann::json rows = nlohmann::json::array();  // of arrays
  bool truncated = false;                         // there were more rows
  std::vector<std::string> warnings;              // of a query plan
  Step step;  // as it ran; `result.verdict` is empty where nothing did

  bool ok() const { return status == "succeeded"; }
};

struct DirectLimits {
  std::size_t rows = 200;      // 1 to 1000
  std::size_t bytes = 65'536;  // of the rows as JSON; rows are dropped from the end
  bool python = true;          // false: PYTHON: is refused, FEATURE_DISABLED
  Deadline deadline = Deadline::max();
};

// The jails for it: `options` with, where they name none, the policy csv-strict for Python and
// RUN_TIMEOUT_SECONDS of the environment, 1 to 60, or ten seconds.
JailOptions direct_options(JailOptions options, DirectMode mode);

// Runs it in `where`, made of such options: what is wrong with the message or came of it is a
// result. Error: ours, cancelled, or past the deadline.
Expected<DirectResult> run_direct(const DirectMessage& message,
                                  const std::vector<DataTable>& tables, Interpreter& where,
                                  const DirectLimits& limits = {});

// The result in a sentence or a small table of Markdown: "The result is 7.", "No rows matched your
// request."
std::string direct_text(const DirectResult& result);

// All of its rows as a table of Markdown.
std::string direct_table(const DirectResult& result);

// For those who present answers: answered, and what direct_text says.
Outcome outcome_of(const DirectResult& result);

}  // namespace jailrun::agent
