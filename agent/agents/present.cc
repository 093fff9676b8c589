#include "agent/agents/present.h"

#include "agent/base/text.h"
#include "jail/sys/units.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
constexpr std::size_t kShownOutput = 64 << 10;

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

std::string failed_line(std::size_t number, const Step& step) {
  std::string out = "run " + std::to_string(number) + " failed: " + printable(step.result.verdict);
  auto err = trimmed(printable(step.result.err));
  auto last = err.rfind('\n');
  if (!err.empty()) out += ": " + clip(last == std::string::npos ? err : err.substr(last + 1), 300);
  return out + "\n";
}

std::string run_line(std::size_t number, const Step& step) {
  std::string out = "--- code of run " + std::to_string(number) +
                    (step.lasting ? ", in a session: " : ", in a fresh jail: ") +
                    format_duration(step.result.wall_ns);
  if (step.result.memory_peak_bytes)
    out += ", peak memory " + format_bytes(*step.result.memory_peak_bytes);
  return out + " ---\n";
}

json step_json(const Step& step) {
  json files = json::array();
  for (const auto& file : step.files)
    files.push_back({{"path", file.path}, {"name", file.name}, {"bytes", file.bytes}});
  json out = {{"code", step.code},
              {"verdict", step.result.verdict},
              {"reason", step.result.reason},
              {"exit_code", step.result.exit_code ? json(*step.result.exit_code) : json()},
              {"stdout", step.result.out},
              {"stderr", step.result.err},
              {"wall_ns", step.result.wall_ns},
              {"files", files}};
  if (!step.sql.empty()) out["sql"] = step.sql;
  return out;
}

json table_json(const DataTable& table) {
  json columns = json::array();
  for (const auto& column : table.columns)
    columns.push_back({{"name", column.name}, {"dtype", column.dtype}});
  json out = {{"file", table.file}, {"rows", table.rows}, {"columns", columns}};
  if (!table.table.empty()) out["table"] = table.table;
  if (!table.error.empty()) out["error"] = table.error;
  return out;
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string as_text(const Asked& asked, const Outcome& outcome, bool with_answer) {
  std::string out = with_answer ? trimmed(printable(outcome.answer)) + "\n" : "";
  const Step* last = nullptr;
  std::size_t number = 0;
  for (std::size_t i = 0; i < asked.steps.size(); ++i)
    if (asked.steps[i].result.ok()) last = &asked.steps[i], number = i + 1;
  if (last != nullptr && !last->result.out.empty())
    out += "\n" + trimmed(clip(printable(last->result.out), kShownOutput)) + "\n";

  std::string files;
  for (const auto& step : asked.steps)
    for (const auto& file : step.files) files += "  " + printable(file.path) + "\n";
  if (!files.empty()) out += "\nFiles:\n" + files;
  for (const auto& note : asked.notes) out += "\nNote: " + note + ".\n";

  out += "\n";
  for (std::size_t i = 0; i < asked.steps.size(); ++i)
    if (!asked.steps[i].result.ok()) out += failed_line(i + 1, asked.steps[i]);
  const Step* shown = last == nullptr && !asked.steps.empty() ? &asked.steps.back() : last;
  if (shown != nullptr)
    out += run_line(last != nullptr ? number : asked.steps.size(), *shown) +
           trimmed(printable(shown->sql.empty() ? shown->code : shown->sql)) + "\n---\n";
  return out;
}

std::string as_json(const Asked& asked, const Outcome& outcome) {
  json runs = json::array(), files = json::array(), tables = json::array();
  for (const auto& step : asked.steps) {
    runs.push_back(step_json(step));
    for (const auto& file : runs.back()["files"]) files.push_back(file);
  }
  for (const auto& table : asked.tables) tables.push_back(table_json(table));
  return dump({{"jailrun", JAILRUN_VERSION},
               {"question", asked.question},
               {"provider", asked.provider},
               {"model", asked.model.empty() ? json() : json(asked.model)},
               {"answered", outcome.answered},
               {"answer", outcome.answer},
               {"runs", runs},
               {"files", files},
               {"data", tables},
               {"run_id", asked.run_id.empty() ? json() : json(asked.run_id)},
               {"thread_id", asked.thread_id.empty() ? json() : json(asked.thread_id)},
               {"notes", asked.notes},
               {"usage",
                {{"turns", outcome.turns},
                 {"tokens", outcome.usage.total()},
                 {"input_tokens", outcome.usage.input},
                 {"cached_tokens", outcome.usage.cached},
                 {"output_tokens", outcome.usage.output},
                 {"reasoning_tokens", outcome.usage.reasoning},
                 {"cost_usd", outcome.cost_usd ? json(*outcome.cost_usd) : json()},
                 {"wall_ns", asked.wall_ns}}}});
}

std::string as_json(const Error& error) {
  return dump({{"jailrun", JAILRUN_VERSION},
               {"error",
                {{"stage", info(error.stage).name},
                 {"object", error.object},
                 {"errno", error.errno_value != 0 ? json(errno_name(error.errno_value)) : json()},
                 {"message", error.message},
                 {"remedy", error.remedy}}}});
}

}  // namespace jailrun::agent
