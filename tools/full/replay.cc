#include "tools/full/replay.h"

#include <filesystem>

#include "agent/base/text.h"
#include "agent/data/inputs.h"
#include "agent/llm/json.h"
#include "agent/record/replay.h"

namespace jailrun::full {
namespace {

using namespace jailrun::agent;
using nlohmann::json;
constexpr std::size_t kMostCapsule = 256 << 20;

Expected<json> find_capsule(const std::string& what, Recording& recording) {
  std::error_code failed;
  if (std::filesystem::is_regular_file(what, failed)) {
    json capsule = parse_json(read_file_at(AT_FDCWD, what.c_str(), kMostCapsule));
    if (capsule.is_object() && capsule.contains("steps")) return capsule;
    return std::unexpected(
        usage_error(what + " is no exported run", "`jailrun runs export` makes one"));
  }
  if (!recording)
    return std::unexpected(usage_error("there is no record to take " + what + " from",
                                       "name a file that `jailrun runs export` has written"));
  TRY(auto found, recording.record().capsule(Recording::owner(), what));
  if (found) return std::move(*found);
  return std::unexpected(usage_error("there is no run " + what, "`jailrun runs ls` lists them"));
}

// As the capsule names them: the names that its code knows.
std::vector<std::string> files_of(const json& capsule) {
  std::vector<std::string> files;
  for (const json& file : list_member(capsule, "data"))
    files.push_back(text_member(file, "origin") + ":" + text_member(file, "name"));
  return files;
}

}  // namespace

Expected<Told> replay_run(const std::string& what, const QuestionOptions& options,
                          const Cancel& cancel, Recording& recording, bool as_json) {
  TRY(const json capsule, find_capsule(what, recording));
  TRY(const Bounds bounds, bounds_of(options));
  const bool own = !options.files.empty() || !options.dataset.empty();
  const auto dataset = own ? options.dataset : text_member(capsule, "dataset_id");
  const auto files = own                ? options.files
                     : !dataset.empty() ? std::vector<std::string>()
                                        : files_of(capsule);
  TRY(QuestionData data, gather(files, dataset));
  TRY(JailOptions jails, jails_of(options));
  if (const json* policy = member(capsule, "policy"); policy != nullptr && jails.policy.empty()) {
    jails.policy = text_member(*policy, "name");
    for (const json& set : list_member(*policy, "sets"))
      if (set.is_string()) jails.sets.push_back(set.get<std::string>());
    if (jails.timeout.empty()) jails.timeout = text_member(*policy, "timeout");
  }
  TRY(const Replayed again,
      replay(capsule, recording.redactor(), jails, data.inputs, cancel, bounds.deadline));
  const bool same = again.differences.empty();
  if (as_json)
    return Told{dump_json({{"run_id", text_member(capsule, "run_id")},
                           {"same", same},
                           {"steps", again.steps.size()},
                           {"circumstances", again.circumstances},
                           {"differences", again.differences}}) +
                    "\n",
                same ? 0 : 1};
  std::string text;
  for (const auto& line : again.circumstances) text += "now: " + printable(line) + "\n";
  for (const auto& line : again.differences) text += "differs: " + printable(line) + "\n";
  const auto steps =
      std::to_string(again.steps.size()) + (again.steps.size() == 1 ? " step" : " steps");
  text += same ? "The same again: " + steps + ", each with the same verdict, output and files.\n"
               : std::to_string(again.differences.size()) + " differences in " + steps + ".\n";
  return Told{text, same ? 0 : 1};
}

}  // namespace jailrun::full
