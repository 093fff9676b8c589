#include "agent/record/capsule.h"

#include <sys/stat.h>

#include <charconv>
#include <cmath>
#include <ctime>
#include <filesystem>

#include "agent/base/subprocess.h"
#include "agent/base/text.h"
#include "agent/llm/json.h"
#include "agent/store/file_types.h"
#include "rootfs/sha256.h"
#include "rootfs/store.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
constexpr std::size_t kOutputBytes = 64 << 10, kCodeBytes = 256 << 10, kMessageBytes = 64 << 10;
constexpr std::uint64_t kFileBytes = 8 << 20, kAllBytes = 32 << 20;
constexpr std::size_t kMostRows = 1000, kMostColumns = 200;

std::string trimmed(std::string_view text) {
  const auto from = text.find_first_not_of(" \t");
  if (from == std::string_view::npos) return "";
  return std::string(text.substr(from, text.find_last_not_of(" \t") - from + 1));
}

std::vector<std::string> cells_of(std::string_view line) {
  std::vector<std::string> cells;
  line.remove_prefix(1);
  while (!line.empty()) {
    auto end = line.find('|');
    while (end != std::string_view::npos && end > 0 && line[end - 1] == '\\')
      end = line.find('|', end + 1);
    if (end == std::string_view::npos) break;
    cells.push_back(trimmed(line.substr(0, end)));
    line.remove_prefix(end + 1);
  }
  return cells;
}

bool is_rule(const std::vector<std::string>& cells) {
  for (const auto& cell : cells)
    if (cell.empty() || cell.find_first_not_of("-:") != std::string::npos) return false;
  return !cells.empty();
}

json cell_value(const std::string& text) {
  if (text == "nan" || text == "NaN" || text == "inf" || text == "-inf" || text == "<NA>" ||
      text == "None")
    return nullptr;
  const char* end = text.data() + text.size();
  std::int64_t whole = 0;
  if (const auto got = std::from_chars(text.data(), end, whole);
      got.ec == std::errc() && got.ptr == end)
    return whole;
  double number = 0;
  if (const auto got = std::from_chars(text.data(), end, number);
      got.ec == std::errc() && got.ptr == end && std::isfinite(number))
    return number;
  return text;
}

json calls_of(const Message& message) {
  json calls = json::array();
  for (const auto& call : message.calls)
    calls.push_back({{"id", call.id}, {"name", call.name}, {"arguments", call.arguments}});
  return calls;
}

const char* role_word(Role role) {
  switch (role) {
    case Role::Developer:
      return "developer";
    case Role::User:
      return "user";
    case Role::Assistant:
      return "assistant";
    case Role::Tool:
      break;
  }
  return "tool";
}

template <typename T>
json or_null(const std::optional<T>& value) {
  return value ? json(*value) : json();
}

// The content counts as kept only where it is whole.
json file_json(const SavedFile& file, std::size_t step, std::uint64_t& left,
               std::vector<KeptFile>& kept) {
  const auto type = store::type_of(file.name);
  json out = {{"name", file.name},        {"bytes", file.bytes}, {"path", file.path},
              {"media_type", type.media}, {"sha256", nullptr},   {"kept", false}};
  const Fd opened(open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!opened.valid()) return out;
  if (const auto digest = rootfs::sha256_of(opened.get(), file.path)) out["sha256"] = *digest;
  if (file.bytes > kFileBytes || file.bytes > left) return out;
  std::string content = read_file_at(AT_FDCWD, file.path.c_str(), file.bytes + 1);
  if (content.size() != file.bytes) return out;
  left -= file.bytes;
  out["kept"] = true;
  kept.push_back({step, file.name, type.media, std::move(content)});
  return out;
}

json step_json(const Step& step, std::size_t number, json files) {
  const JailResult& result = step.result;
  return {{"number", number},
          {"code", clip(step.code, kCodeBytes)},
          {"sql", step.sql.empty() ? json() : json(step.sql)},
          {"lasting", step.lasting},
          {"verdict", result.verdict},
          {"reason", result.reason},
          {"exit_code", or_null(result.exit_code)},
          {"stdout", clip(printable(result.out), kOutputBytes)},
          {"stderr", clip(printable(result.err), kOutputBytes)},
          {"stdout_truncated", result.out_truncated || result.out.size() > kOutputBytes},
          {"stderr_truncated", result.err_truncated || result.err.size() > kOutputBytes},
          {"wall_ns", result.wall_ns},
          {"memory_peak_bytes", or_null(result.memory_peak_bytes)},
          {"files", std::move(files)}};
}

json empty_capsule(const std::string& question, const Circumstances& around) {
  return {
      {"capsule", 1},
      {"jailrun", JAILRUN_VERSION},
      {"question", question},
      {"dataset_id", around.dataset_id.empty() ? json() : json(around.dataset_id)},
      {"dataset_version_hash", around.dataset_hash.empty() ? json() : json(around.dataset_hash)},
      {"query_mode", "chat"},
      {"plan_json", nullptr},
      {"compiled_sql", nullptr},
      {"python_code", nullptr},
      {"result_json", nullptr},
      {"error_json", nullptr},
      {"policy",
       {{"name", around.policy},
        {"sha256", around.policy_sha256},
        {"sets", around.sets},
        {"timeout", around.timeout}}},
      {"image", around.image},
      {"data", around.data},
      {"messages", json::array()},
      {"steps", json::array()},
      {"moves", json::array()},
      {"notes", json::array()}};
}

json usage_json(const Answered& answered) {
  const Outcome& outcome = answered.outcome;
  return {{"turns", outcome.turns},
          {"input_tokens", outcome.usage.input},
          {"cached_tokens", outcome.usage.cached},
          {"output_tokens", outcome.usage.output},
          {"reasoning_tokens", outcome.usage.reasoning},
          {"cost_usd", or_null(outcome.cost_usd)},
          {"attempt", answered.attempt},
          {"wall_ns", answered.asked.wall_ns}};
}

// What a user wrote himself: its mode is the message's.
void tell_direct(const DirectResult& result, const std::string& question, json& capsule) {
  const auto message = direct_message(question);
  const bool python = message && message->mode == DirectMode::Python;
  capsule["query_mode"] = python ? "python" : message ? "sql" : "plan";
  if (!python && !result.step.sql.empty()) capsule["compiled_sql"] = result.step.sql;
  if (python) capsule["python_code"] = message->text;
  if (!message) capsule["plan_json"] = parse_json(question);
  capsule["status"] = result.status;
  if (!result.error_type.empty())
    capsule["error_json"] = {{"type", result.error_type}, {"message", result.error}};
  if (result.ok())
    capsule["result_json"] = {{"columns", result.columns},
                              {"rows", result.rows},
                              {"row_count", result.rows.size()},
                              {"truncated", result.truncated}};
}

// What the last good step computed, in the words of the CSV analyst's API.
void tell_result(const Answered& answered, json& capsule) {
  if (answered.direct) return tell_direct(*answered.direct, answered.asked.question, capsule);
  for (const Step& step : answered.asked.steps) {
    if (!step.result.ok()) continue;
    capsule["query_mode"] = step.sql.empty() ? "python" : "sql";
    capsule["compiled_sql"] = step.sql.empty() ? json() : json(step.sql);
    capsule["python_code"] = step.sql.empty() ? json(clip(step.code, kCodeBytes)) : json();
    json table = table_in(step.result.out);
    if (!table.is_null()) capsule["result_json"] = std::move(table);
  }
  if (answered.outcome.answered) return;
  capsule["error_json"] = {{"type", "NO_ANSWER"}, {"message", answered.outcome.answer}};
}

}  // namespace

json table_in(const std::string& out) {
  json rows = json::array(), columns;
  std::vector<std::string> before;
  for (std::size_t at = 0; at < out.size();) {
    const auto end = std::min(out.find('\n', at), out.size());
    const auto line = std::string_view(out).substr(at, end - at);
    at = end + 1;
    if (!line.starts_with('|')) {
      if (!columns.is_null()) break;
      before.clear();
      continue;
    }
    auto cells = cells_of(line);
    if (columns.is_null()) {
      if (is_rule(cells) && cells.size() == before.size() && cells.size() <= kMostColumns)
        columns = before;
      before = std::move(cells);
      continue;
    }
    if (cells.size() != columns.size() || rows.size() >= kMostRows) continue;
    json row = json::array();
    for (const auto& cell : cells) row.push_back(cell_value(cell));
    rows.push_back(std::move(row));
  }
  if (columns.is_null()) return nullptr;
  return {{"columns", columns}, {"rows", rows}, {"row_count", rows.size()}};
}

Captured capture(const Answered& answered, const Circumstances& around) {
  const Asked& asked = answered.asked;
  Captured out{empty_capsule(asked.question, around), {}};
  json& capsule = out.capsule;
  capsule["status"] = answered.outcome.answered ? "succeeded" : "failed";
  capsule["answer"] = clip(printable(answered.outcome.answer), kMessageBytes);
  capsule["provider"] = asked.provider;
  capsule["model"] = asked.model.empty() ? json() : json(asked.model);
  for (const Message& message : answered.messages) {
    json one = {{"role", role_word(message.role)}, {"text", clip(message.text, kMessageBytes)}};
    if (!message.calls.empty()) one["calls"] = calls_of(message);
    if (!message.call_id.empty()) one["call_id"] = message.call_id;
    capsule["messages"].push_back(std::move(one));
  }
  std::uint64_t left = kAllBytes;
  for (std::size_t i = 0; i < asked.steps.size(); ++i) {
    json files = json::array();
    for (const auto& file : asked.steps[i].files)
      files.push_back(file_json(file, i + 1, left, out.files));
    capsule["steps"].push_back(step_json(asked.steps[i], i + 1, std::move(files)));
  }
  for (const Move& move : answered.moves)
    capsule["moves"].push_back({{"after", move.after}, {"back", move.back}, {"state", move.state}});
  for (const auto& note : asked.notes) capsule["notes"].push_back(note);
  tell_result(answered, capsule);
  capsule["usage"] = usage_json(answered);
  capsule["exec_time_ms"] = asked.wall_ns / 1'000'000;
  return out;
}

Captured capture(const std::string& question, const Error& error, const Circumstances& around) {
  Captured out{empty_capsule(question, around), {}};
  out.capsule["status"] = is_cancelled(error) ? "interrupted" : "failed";
  out.capsule["answer"] = nullptr;
  const char* type = error.errno_value == ETIMEDOUT ? "RUNNER_TIMEOUT"
                     : is_cancelled(error)          ? "CANCELLED"
                                                    : "RUNNER_INTERNAL_ERROR";
  out.capsule["error_json"] = {{"type", type}, {"message", printable(error.line())}};
  return out;
}

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string time_text(std::int64_t ms) {
  const std::time_t seconds = ms / 1000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  char whole[40];
  std::snprintf(whole, sizeof whole, "%s.%03dZ", text, static_cast<int>(ms % 1000));
  return whole;
}

}  // namespace jailrun::agent
