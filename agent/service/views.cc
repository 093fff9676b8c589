#include "agent/service/views.h"

#include <nettle/base64.h>

#include "jail/sys/units.h"

namespace jailrun::service {
namespace {

Json error_of(const CellAnswer& answer) {
  const auto error = answer.head.find("error");
  return error != answer.head.end() && error->is_object() ? *error : Json();
}

Json value_of(const Json& head, const char* key) {
  const auto found = head.find(key);
  return found == head.end() ? Json() : *found;
}

std::string text_value(const CellAnswer& answer) {
  for (auto each = answer.displays.rbegin(); each != answer.displays.rend(); ++each)
    if (text_of(each->head, "kind") == "result")
      if (const auto data = each->head.find("data"); data != each->head.end() && data->is_object())
        return text_of(*data, "text/plain");
  return {};
}

// Why it did not succeed, in a line; empty where it did.
std::string reason_of(const CellAnswer& answer, double timeout_s) {
  const auto whole = static_cast<std::int64_t>(timeout_s);
  const std::string seconds =
      static_cast<double>(whole) == timeout_s ? std::to_string(whole) : Json(timeout_s).dump();
  if (answer.ended) {
    const Result& result = answer.ended->result;
    if (result.verdict == Verdict::WallTimeout)
      return "Code execution timed out after " + seconds + " seconds";
    return "Execution error: " + result.reason;
  }
  const std::string outcome = text_of(answer.head, "outcome");
  if (outcome == "ok" || (outcome == "exit" && number_of(answer.head, "status") == 0)) return {};
  if (outcome == "interrupted" && answer.wall_hit)
    return "Code execution timed out after " + seconds + " seconds";
  const Json error = error_of(answer);
  if (!error.is_object()) return "Execution error: " + outcome;
  const std::string type = text_of(error, "type"), message = text_of(error, "message");
  return "Execution error: " + (message.empty() ? type : message);
}

Json evidence_of(const Result& result) {
  Json all = Json::object();
  for (const auto& [key, value] : result.evidence)
    std::visit([&all, &key](const auto& each) { all[key] = each; }, value);
  return all;
}

// Of the jail, from its beginning to its end.
Json usage_of(const Result& result) {
  Json usage = {{"wall_ns", result.wall_ns}};
  if (result.cpu_ns) usage["cpu_ns"] = *result.cpu_ns;
  if (result.memory_peak_bytes) usage["memory_peak_bytes"] = *result.memory_peak_bytes;
  if (result.pids_peak) usage["pids_peak"] = *result.pids_peak;
  return usage;
}

}  // namespace

std::string base64(std::string_view bytes) {
  std::string text(BASE64_ENCODE_RAW_LENGTH(bytes.size()), '\0');
  base64_encode_raw(text.data(), bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data()));
  return text;
}

Json display_view(const SessionFrame& frame) {
  Json view = {{"kind", text_of(frame.head, "kind")}, {"data", value_of(frame.head, "data")}};
  const auto bodies = frame.head.find("bodies");
  std::size_t at = 0;
  if (bodies == frame.head.end() || !bodies->is_array()) return view;
  for (const Json& each : *bodies) {
    if (!each.is_array() || each.size() != 2 || !each[0].is_string() ||
        !each[1].is_number_unsigned())
      continue;
    const std::size_t bytes = std::min(each[1].get<std::size_t>(), frame.body.size() - at);
    view["binary"][each[0].get<std::string>()] =
        base64(std::string_view(frame.body).substr(at, bytes));
    at += bytes;
  }
  return view;
}

Json cell_view(const CellAnswer& answer, double seconds) {
  Json view = {{"outcome", answer.ended ? Json("ended") : value_of(answer.head, "outcome")},
               {"stdout", answer.out},
               {"stderr", answer.err},
               {"stdout_truncated", answer.out_truncated},
               {"stderr_truncated", answer.err_truncated},
               {"value", value_of(answer.head, "value")},
               {"result", value_of(answer.head, "result")},
               {"error", error_of(answer)},
               {"files", value_of(answer.head, "files")},
               {"execution_time", seconds}};
  if (view["files"].is_null()) view["files"] = Json::array();
  view["displays"] = Json::array();
  for (const SessionFrame& frame : answer.displays) view["displays"].push_back(display_view(frame));
  if (answer.displays_dropped > 0) view["displays_dropped"] = answer.displays_dropped;
  if (answer.head.contains("rolled_back")) view["rolled_back"] = true;
  if (answer.wall_hit) view["timed_out"] = true;
  if (answer.ended) {
    const Result& result = answer.ended->result;
    view["verdict"] = std::string(name(result.verdict));
    view["reason"] = result.reason;
    view["evidence"] = evidence_of(result);
    view["limits_hit"] = result.limits_hit;
    view["usage"] = usage_of(result);
  }
  for (const char* const key : {"warnings", "cut"})
    if (Json told = value_of(answer.head, key); !told.is_null()) view[key] = std::move(told);
  return view;
}

Json execute_view(const std::string& session, const CellAnswer& answer, double seconds,
                  double timeout_s) {
  const std::string reason = reason_of(answer, timeout_s);
  std::string err = answer.err;
  if (const Json error = error_of(answer); error.is_object()) err += text_of(error, "traceback");
  const std::string value = text_value(answer);
  Json files = Json::array();
  if (const Json all = value_of(answer.head, "files"); all.is_array())
    for (const Json& each : all)
      if (each.is_object()) files.push_back(text_of(each, "name"));
  return {{"session_id", session},
          {"success", reason.empty()},
          {"stdout", answer.out},
          {"stderr", err},
          {"result", value.empty() ? Json() : Json(value)},
          {"error", reason.empty() ? Json() : Json(reason)},
          {"execution_time", seconds},
          {"files_created", files}};
}

}  // namespace jailrun::service
