#include <nlohmann/json.hpp>

#include "jail/run/result.h"
#include "jail/run/version.h"

namespace jailrun {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
Json or_null(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::string print(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Json list_files(const Result& result) {
  Json files = Json::array();
  for (const OutputFile& file : result.files) {
    files.push_back({{"name", file.name},
                     {"bytes", file.bytes},
                     {"sha256", file.sha256},
                     {"media_type", file.media_type}});
  }
  return files;
}

}  // namespace

std::string to_json(const Result& result) {
  Json json = {{"jailrun", kVersion},
               {"start", result.start},
               {"policy", result.policy},
               {"verdict", name(result.verdict)},
               {"reason", result.reason}};
  json["evidence"] = Json::object();
  for (const auto& [key, value] : result.evidence) {
    std::visit([&](const auto& v) { json["evidence"][key] = v; }, value);
  }
  json["status"] = result.status;
  json["exit_code"] = or_null(result.exit_code);
  json["signal"] = result.signal ? Json(signal_name(*result.signal)) : Json(nullptr);
  json["stdout"] = result.out;
  json["stderr"] = result.err;
  json["stdout_truncated"] = result.out_truncated;
  json["stderr_truncated"] = result.err_truncated;
  json["files"] = list_files(result);
  json["files_skipped"] = Json::array();
  for (const SkippedFile& file : result.files_skipped) {
    json["files_skipped"].push_back({{"name", file.name}, {"reason", file.reason}});
  }
  json["usage"] = {{"wall_ns", result.wall_ns},
                   {"cpu_ns", or_null(result.cpu_ns)},
                   {"memory_peak_bytes", or_null(result.memory_peak_bytes)},
                   {"pids_peak", or_null(result.pids_peak)}};
  json["timeline"] = Json::array();
  for (const TimelineEntry& entry : result.timeline) {
    json["timeline"].push_back(
        {{"stage", info(entry.stage).name}, {"at_ns", entry.at_ns}, {"ns", entry.ns}});
  }
  json["limits"] = Json::object();
  for (const EnforcedLimit& limit : result.limits) {
    const bool whole = limit.value == static_cast<double>(static_cast<std::uint64_t>(limit.value));
    json["limits"][limit.name] = {
        {"value", whole ? Json(static_cast<std::uint64_t>(limit.value)) : Json(limit.value)},
        {"enforced_by", limit.enforced_by}};
  }
  json["limits_hit"] = result.limits_hit;
  json["warnings"] = result.warnings;
  return print(json);
}

std::string to_json(const Error& error) {
  return print(
      {{"jailrun", kVersion},
       {"error",
        {{"stage", info(error.stage).name},
         {"object", error.object},
         {"errno", error.errno_value == 0 ? Json(nullptr) : Json(errno_name(error.errno_value))},
         {"message", error.message},
         {"remedy", error.remedy}}}});
}

}  // namespace jailrun
