#include "agent/agents/direct.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "agent/agents/direct_python.h"
#include "agent/base/text.h"
#include "agent/base/variable.h"
#include "agent/llm/json.h"
#include "agent/sql/policy.h"
#include "agent/sql/query_plan.h"
#include "agent/tools/run_sql.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;

constexpr std::size_t kMostText = 64 << 10;
constexpr std::string_view kResultMark = "jailrun result:";
constexpr std::array<std::string_view, 5> kResources{"out_of_memory", "pids_limit", "output_limit",
                                                     "disk_limit", "policy_violation"};

std::string trimmed(std::string_view text) {
  const auto from = text.find_first_not_of(" \t\r\n");
  if (from == std::string_view::npos) return "";
  return std::string(text.substr(from, text.find_last_not_of(" \t\r\n") - from + 1));
}

DirectResult reject(DirectResult result, std::string type, std::string why) {
  result.status = "rejected";
  result.error_type = std::move(type);
  result.error = std::move(why);
  return result;
}

// The SQL of the message, or why it is not run.
DirectResult prepare_sql(const DirectMessage& message, const std::vector<DataTable>& tables,
                         const DirectLimits& limits) {
  DirectResult result;
  const auto names = sql_names(tables);
  if (message.mode == DirectMode::Plan) {
    const auto plan = parse_query_plan(parse_json(message.text));
    if (!plan) return reject(std::move(result), "VALIDATION_ERROR", plan.error().message);
    if (std::ranges::find(names, plan->table) == names.end())
      return reject(std::move(result), "VALIDATION_ERROR",
                    "There is no table " + plan->table + ".");
    result.step.sql = compile_query_plan(*plan);
    result.warnings = query_plan_warnings(*plan);
  } else {
    result.step.sql = message.text;
  }
  if (auto fault = sql_fault(result.step.sql, names); !fault.empty())
    return reject(std::move(result), "SQL_POLICY_VIOLATION", std::move(fault));
  const std::size_t rows = std::clamp<std::size_t>(limits.rows, 1, 1000);
  result.step.code = sql_program(tables, result.step.sql, {rows, limits.bytes, true});
  return result;
}

DirectResult prepare(const DirectMessage& message, const std::vector<DataTable>& tables,
                     const DirectLimits& limits) {
  const bool python = message.mode == DirectMode::Python;
  if (python && !limits.python)
    return reject({}, "FEATURE_DISABLED", "Python execution is turned off here.");
  if (message.text.empty()) return reject({}, "VALIDATION_ERROR", "There is nothing to run.");
  if (message.text.size() > kMostText)
    return reject({}, "VALIDATION_ERROR", "The text to run is longer than 64 KiB.");
  if (!python) return prepare_sql(message, tables, limits);
  DirectResult result;
  const std::size_t rows = std::clamp<std::size_t>(limits.rows, 1, 1000);
  result.step.code =
      python_with_result(message.text, std::string(kResultMark), rows, limits.bytes * 3 / 4);
  return result;
}

// What the run told of its result, lenient: it comes out of a jail.
void read_table(DirectResult& result, std::string_view text, const char* rows) {
  const json told = parse_json(text);
  if (!told.is_object()) return;
  for (const json& column : list_member(told, "columns"))
    result.columns.push_back(column.is_string() ? column.get<std::string>() : dump_json(column));
  for (const json& row : list_member(told, rows))
    if (row.is_array() && row.size() == result.columns.size()) result.rows.push_back(row);
  if (const json* more = member(told, "truncated"))
    result.truncated = more->is_boolean() && more->get<bool>();
}

// Takes the last marked line out of what the code has printed.
void take_result(DirectResult& result) {
  std::string& out = result.step.result.out;
  const auto at = out.rfind("\n" + std::string(kResultMark));
  if (at == std::string::npos) return;
  const auto from = at + 1 + kResultMark.size();
  result.truncated = from < out.size() && out[from] == '+';
  const bool more = result.truncated;
  read_table(result, std::string_view(out).substr(std::min(from + 1, out.size())), "data");
  result.truncated = more;
  out.resize(at);
}

std::string last_line(const std::string& text) {
  const auto whole = trimmed(text);
  return whole.substr(whole.rfind('\n') + 1);
}

void judge(DirectResult& result, DirectMode mode) {
  const JailResult& ran = result.step.result;
  if (ran.ok()) {
    result.status = "succeeded";
    return;
  }
  const bool python = mode == DirectMode::Python;
  result.status = "failed";
  result.error_type = python ? "PYTHON_EXECUTION_ERROR" : "SQL_EXECUTION_ERROR";
  result.error = clip(printable(python ? last_line(ran.err) : trimmed(ran.err)), 2000);
  if (ran.verdict == "wall_timeout" || ran.verdict == "cpu_timeout")
    result.error_type = "RUNNER_TIMEOUT", result.error = ran.reason;
  else if (std::ranges::find(kResources, ran.verdict) != kResources.end())
    result.error_type = "RUNNER_RESOURCE_EXCEEDED", result.error = ran.reason;
  const bool code = python && result.error.starts_with("CodeRefused: ");
  if (code || (!python && result.error.starts_with("one SELECT is wanted"))) {
    result.status = "rejected";
    result.error_type = code ? "PYTHON_POLICY_VIOLATION" : "SQL_POLICY_VIOLATION";
    if (code) result.error.erase(0, 13);
  }
  if (result.error.empty()) result.error = ran.reason;
}

std::string cell_text(const json& cell) {
  std::string text = cell.is_string() ? cell.get<std::string>() : dump_json(cell);
  if (cell.is_null()) text.clear();
  text = printable(text);
  for (char& c : text)
    if (c == '\n' || c == '|') c = ' ';
  return text.size() > 200 ? clip(text, 200) : text;
}

std::string table_text(const DirectResult& result, std::size_t most) {
  std::string head = "|", line = "|", body;
  for (const auto& column : result.columns) {
    head += " " + cell_text(column) + " |";
    line += " --- |";
  }
  for (std::size_t i = 0; i < result.rows.size() && i < most; ++i) {
    body += "\n|";
    for (const json& cell : result.rows[i]) body += " " + cell_text(cell) + " |";
  }
  return head + "\n" + line + body;
}

}  // namespace

std::optional<DirectMessage> direct_message(std::string_view message) {
  const auto from = message.find_first_not_of(" \t\r\n");
  const auto colon = message.find(':');
  if (colon == std::string_view::npos || from >= colon) return std::nullopt;
  const auto word = lower(message.substr(from, colon - from));
  const auto text = trimmed(message.substr(colon + 1));
  if (word == "sql") return DirectMessage{DirectMode::Sql, text};
  if (word == "python") return DirectMessage{DirectMode::Python, text};
  return std::nullopt;
}

JailOptions direct_options(JailOptions options, DirectMode mode) {
  if (options.policy.empty() && mode == DirectMode::Python) options.policy = "csv-strict";
  if (options.timeout.empty())
    options.timeout =
        std::to_string(number_from_environment("RUN_TIMEOUT_SECONDS", 10, 1, 60)) + "s";
  return options;
}

Expected<DirectResult> run_direct(const DirectMessage& message,
                                  const std::vector<DataTable>& tables, Interpreter& where,
                                  const DirectLimits& limits) {
  DirectResult result = prepare(message, tables, limits);
  if (!result.status.empty()) return result;
  TRY(result.step.result, where.run(result.step.code, "", limits.deadline));
  if (message.mode == DirectMode::Python) {
    result.step.code = message.text;
    take_result(result);
  } else if (result.step.result.ok()) {
    read_table(result, result.step.result.out, "rows");
    result.step.result.out.clear();
  }
  judge(result, message.mode);
  return result;
}

std::string direct_text(const DirectResult& result) {
  if (!result.ok()) return result.error;
  const bool cell = result.rows.size() == 1 && result.columns.size() == 1;
  const bool printed = !trimmed(result.step.result.out).empty();
  if (result.columns.empty()) return printed ? "It ran; what it printed stands below." : "It ran.";
  if (result.rows.empty()) return "No rows matched your request.";
  if (cell) {
    const auto name = lower(result.columns[0]), value = cell_text(result.rows[0][0]);
    if (name.starts_with("total_") && name.size() > 6) {
      auto what = name.substr(6);
      std::ranges::replace(what, '_', ' ');
      return "There are " + value + " total " + what + " in the dataset.";
    }
    return "The result is " + value + ".";
  }
  constexpr std::size_t kShown = 50;
  auto text = table_text(result, kShown);
  const auto count = std::to_string(result.rows.size());
  if (result.truncated)
    text += "\n\nThe first " + count + " rows; there are more.";
  else if (result.rows.size() > kShown)
    text += "\n\nThe first 50 of " + count + " rows.";
  return text;
}

std::string direct_table(const DirectResult& result) {
  return table_text(result, result.rows.size());
}

Outcome outcome_of(const DirectResult& result) {
  Outcome outcome;
  outcome.answered = result.ok();
  outcome.answer = direct_text(result);
  return outcome;
}

}  // namespace jailrun::agent
