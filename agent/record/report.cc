#include "agent/base/text.h"
#include "agent/llm/json.h"
#include "agent/record/export.h"
#include "jail/sys/units.h"

namespace jailrun::agent {
namespace {

using nlohmann::json;

// The first line of defence is escaping; this is the second: nothing is loaded, nothing runs.
constexpr const char* kHead =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; frame-src 'self'; form-action 'none'; base-uri 'none'\">\n"
    "<meta name=\"referrer\" content=\"no-referrer\">\n"
    "<meta name=\"viewport\" content=\"width=device-width\">\n<style>\n"
    ":root { color-scheme: light dark }\n"
    "body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; "
    "padding: 0 1rem }\n"
    "pre { overflow-x: auto; padding: .7rem; border: 1px solid #8886; border-radius: 4px; "
    "font: 13px/1.4 ui-monospace, monospace }\n"
    "table { border-collapse: collapse; display: block; overflow-x: auto }\n"
    "th, td { border: 1px solid #8886; padding: .2rem .6rem; text-align: left }\n"
    "img, iframe { max-width: 100%; border: 1px solid #8886 }\n"
    "iframe { width: 100%; height: 30rem; background: white }\n"
    ".failed { color: #b3261e } .about { color: #888 } summary { cursor: pointer }\n"
    "</style>\n";

std::string block(const char* title, const std::string& text) {
  if (text.empty()) return "";
  return std::string("<p class=\"about\">") + title + "</p><pre>" + html_escaped(text) + "</pre>\n";
}

std::string file_html(const KeptFile& file) {
  const auto name = html_escaped(file.name);
  const bool picture = file.media_type == "image/png" || file.media_type == "image/jpeg" ||
                       file.media_type == "image/gif" || file.media_type == "image/webp" ||
                       file.media_type == "image/svg+xml";
  if (picture)  // an <img> runs nothing, SVG included
    return "<figure><img alt=\"" + name + "\" src=\"data:" + file.media_type + ";base64," +
           base64_of(file.content) + "\"><figcaption>" + name + "</figcaption></figure>\n";
  if (file.media_type == "text/html")
    return "<figure><iframe sandbox title=\"" + name + "\" srcdoc=\"" + html_escaped(file.content) +
           "\"></iframe><figcaption>" + name +
           " (its scripts do not run here)</figcaption></figure>\n";
  return "<p>File " + name + ", " + format_bytes(file.content.size()) + "</p>\n";
}

std::string step_html(const json& step, const std::vector<KeptFile>& files) {
  const auto number = count_member(step, "number");
  const auto verdict = text_member(step, "verdict"), sql = text_member(step, "sql");
  std::string out = "<details" + std::string(verdict == "ok" ? "" : " open") + "><summary>Step " +
                    std::to_string(number) + ": <span" +
                    (verdict == "ok" ? ">" : " class=\"failed\">") + html_escaped(verdict) +
                    "</span>, " + format_duration(count_member(step, "wall_ns"));
  if (const auto peak = count_member(step, "memory_peak_bytes"); peak > 0)
    out += ", peak memory " + format_bytes(peak);
  out += "</summary>\n";
  out += sql.empty() ? block("Python", text_member(step, "code")) : block("SQL", sql);
  if (verdict != "ok") out += block("Why", text_member(step, "reason"));
  out +=
      block("Output", text_member(step, "stdout")) + block("Errors", text_member(step, "stderr"));
  out += "</details>\n";
  for (const auto& file : files)
    if (file.step == number) out += file_html(file);
  return out;
}

std::string circumstances_html(const json& capsule) {
  std::string out = "<h2>How it was made</h2>\n<table>\n";
  const auto row = [&](const char* name, const std::string& value) {
    if (!value.empty())
      out += std::string("<tr><th>") + name + "</th><td>" + html_escaped(value) + "</td></tr>\n";
  };
  row("run", text_member(capsule, "run_id"));
  row("when", text_member(capsule, "created_at"));
  row("asked", text_member(capsule, "provider") + " " + text_member(capsule, "model"));
  row("image", text_member(capsule, "image"));
  if (const json* policy = member(capsule, "policy"))
    row("policy", text_member(*policy, "name") + ", SHA-256 " + text_member(*policy, "sha256"));
  for (const json& file : list_member(capsule, "data"))
    row("data", text_member(file, "name") + ", " + std::to_string(count_member(file, "bytes")) +
                    " bytes, SHA-256 " + text_member(file, "sha256"));
  if (const json* usage = member(capsule, "usage")) {
    row("turns", std::to_string(count_member(*usage, "turns")));
    row("tokens", std::to_string(count_member(*usage, "input_tokens")) + " in, " +
                      std::to_string(count_member(*usage, "output_tokens")) + " out");
    row("time", format_duration(count_member(*usage, "wall_ns")));
    if (const json* cost = member(*usage, "cost_usd"); cost != nullptr && cost->is_number())
      row("cost", "US$ " + cost->dump());
  }
  return out + "</table>\n";
}

}  // namespace

std::string report_of(const json& capsule, const std::vector<KeptFile>& files) {
  const auto question = html_escaped(text_member(capsule, "question"));
  std::string out = std::string(kHead) + "<title>" + question + "</title></head><body>\n<h1>" +
                    question + "</h1>\n" + html_of_markdown(text_member(capsule, "answer"));
  if (const json* error = member(capsule, "error_json"); error != nullptr && error->is_object())
    out += "<p class=\"failed\">" + html_escaped(text_member(*error, "message")) + "</p>\n";
  for (const json& note : list_member(capsule, "notes"))
    if (note.is_string())
      out += "<p class=\"about\">" + html_escaped(note.get<std::string>()) + "</p>\n";
  if (!list_member(capsule, "steps").empty()) out += "<h2>Steps</h2>\n";
  for (const json& step : list_member(capsule, "steps")) out += step_html(step, files);
  return out + circumstances_html(capsule) + "</body></html>\n";
}

}  // namespace jailrun::agent
