#include <nettle/base64.h>

#include <algorithm>

#include "agent/llm/json.h"
#include "agent/record/export.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;
constexpr std::size_t kMostPictures = 32;

// Multi-line strings, as the format has them.
json lines_of(const std::string& text) {
  json lines = json::array();
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size() - 1);
    lines.push_back(text.substr(at, end - at + 1));
    at = end + 1;
  }
  return lines;
}

json cell(json& cells, const char* type, const std::string& source) {
  return {{"cell_type", type},
          {"id", "cell-" + std::to_string(cells.size() + 1)},
          {"metadata", json::object()},
          {"source", lines_of(source)}};
}

json stream(const char* name, const std::string& text) {
  return {{"output_type", "stream"}, {"name", name}, {"text", lines_of(text)}};
}

json outputs_of(const json& step, const std::vector<KeptFile>& files) {
  json outputs = json::array();
  for (const char* name : {"stdout", "stderr"})
    if (const auto text = text_member(step, name); !text.empty())
      outputs.push_back(stream(name, text));
  std::size_t shown = 0;
  for (const auto& file : files) {
    if (file.step != count_member(step, "number") || file.media_type != "image/png") continue;
    if (++shown > kMostPictures) break;
    outputs.push_back(
        {{"output_type", "display_data"},
         {"data", {{"image/png", base64_of(file.content)}, {"text/plain", file.name}}},
         {"metadata", json::object()}});
  }
  if (const auto verdict = text_member(step, "verdict"); verdict != "ok")
    outputs.push_back({{"output_type", "error"},
                       {"ename", verdict},
                       {"evalue", text_member(step, "reason")},
                       {"traceback", json::array()}});
  return outputs;
}

std::string fenced(const std::string& text) {
  std::string fence = "```";
  while (text.find(fence) != std::string::npos) fence += '`';
  return fence + "sql\n" + text + "\n" + fence;
}

}  // namespace

std::string base64_of(std::string_view bytes) {
  std::string text(BASE64_ENCODE_RAW_LENGTH(bytes.size()), '\0');
  base64_encode_raw(text.data(), bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data()));
  return text;
}

std::string notebook_of(const json& capsule, const std::vector<KeptFile>& files) {
  json cells = json::array();
  std::string about = "**" + text_member(capsule, "question") + "**\n\nRun " +
                      text_member(capsule, "run_id") + ", " + text_member(capsule, "created_at") +
                      ". The code ran in a jail, in which the data files are in `/data`:\n\n";
  for (const json& file : list_member(capsule, "data"))
    about += "- `/data/" + text_member(file, "name") + "`, SHA-256 `" +
             text_member(file, "sha256") + "`\n";
  cells.push_back(cell(cells, "markdown", about));
  for (const json& step : list_member(capsule, "steps")) {
    if (const auto sql = text_member(step, "sql"); !sql.empty())
      cells.push_back(cell(cells, "markdown", fenced(sql)));
    json code = cell(cells, "code", text_member(step, "code"));
    code["execution_count"] = count_member(step, "number");
    code["outputs"] = outputs_of(step, files);
    if (text_member(step, "verdict") != "ok") code["metadata"]["tags"] = {"raises-exception"};
    cells.push_back(std::move(code));
  }
  if (const auto answer = text_member(capsule, "answer"); !answer.empty())
    cells.push_back(cell(cells, "markdown", answer));
  const json notebook = {
      {"cells", cells},
      {"metadata",
       {{"kernelspec", {{"display_name", "Python 3"}, {"language", "python"}, {"name", "python3"}}},
        {"language_info", {{"name", "python"}}},
        {"jailrun", {{"run_id", text_member(capsule, "run_id")}}}}},
      {"nbformat", 4},
      {"nbformat_minor", 5}};
  return notebook.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

std::string joined_notebooks(const std::vector<std::string>& notebooks) {
  json whole;
  for (const auto& text : notebooks) {
    json next = parse_json(text);
    if (whole.is_null()) {
      whole = std::move(next);
      continue;
    }
    for (const json& each : list_member(next, "cells")) {
      whole["cells"].push_back(each);
      whole["cells"].back()["id"] = "cell-" + std::to_string(whole["cells"].size());
    }
  }
  return whole.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace jailrun::agent
